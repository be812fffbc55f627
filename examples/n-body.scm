;;; The orbits of the Jovian planets, integrated with a symplectic method.
;;;
;;; Usage: ./run examples/n-body.scm [STEPS]
;;; Prints the energy of the system before and after STEPS steps of 0.01 years
;;; (default 100000); the two differ only by the error of the method.  Nearly every
;;; operation allocates a flonum, so this is also a test of the allocator.

(use-modules (ice-9 format)
             (ice-9 match)
             (srfi srfi-9))

(define-record-type <body>
  (make-body x y z vx vy vz mass)
  body?
  (x body-x set-body-x!)
  (y body-y set-body-y!)
  (z body-z set-body-z!)
  (vx body-vx set-body-vx!)
  (vy body-vy set-body-vy!)
  (vz body-vz set-body-vz!)
  (mass body-mass))

(define solar-mass (* 4 (atan 1 1) (atan 1 1) 16))
(define days-per-year 365.24)

(define (planet x y z vx vy vz relative-mass)
  (make-body x y z
             (* vx days-per-year) (* vy days-per-year) (* vz days-per-year)
             (* relative-mass solar-mass)))

(define (solar-system)
  (list
   (make-body 0.0 0.0 0.0 0.0 0.0 0.0 solar-mass)
   ;; Jupiter, Saturn, Uranus, Neptune
   (planet 4.84143144246472090e+00 -1.16032004402742839e+00 -1.03622044471123109e-01
           1.66007664274403694e-03 7.69901118419740425e-03 -6.90460016972063023e-05
           9.54791938424326609e-04)
   (planet 8.34336671824457987e+00 4.12479856412430479e+00 -4.03523417114321381e-01
           -2.76742510726411862e-03 4.99852801234917238e-03 2.30417297573763929e-05
           2.85885980666130812e-04)
   (planet 1.28943695621391310e+01 -1.51111514016986312e+01 -2.23307578892655734e-01
           2.96460137564761618e-03 2.37847173959480950e-03 -2.96589568540237556e-05
           4.36624404335156298e-05)
   (planet 1.53796971148509165e+01 -2.59193146099879641e+01 1.79258772950371181e-01
           2.68067772490389322e-03 1.62824170038242295e-03 -9.51592254519715870e-05
           5.15138902046611451e-05)))

(define (stop-the-centre-of-mass! bodies)
  "Give the sun, the first of BODIES, the speed that keeps the whole at rest."
  (define (momentum velocity)
    (apply + (map (lambda (b) (* (velocity b) (body-mass b))) bodies)))
  (let ((sun (car bodies)))
    (set-body-vx! sun (- (/ (momentum body-vx) solar-mass)))
    (set-body-vy! sun (- (/ (momentum body-vy) solar-mass)))
    (set-body-vz! sun (- (/ (momentum body-vz) solar-mass)))))

(define (distance² a b)
  (let ((dx (- (body-x a) (body-x b)))
        (dy (- (body-y a) (body-y b)))
        (dz (- (body-z a) (body-z b))))
    (+ (* dx dx) (* dy dy) (* dz dz))))

(define (energy bodies)
  (let loop ((bodies bodies) (sum 0.0))
    (match bodies
      (() sum)
      ((b . others)
       (let ((kinetic (* 0.5 (body-mass b)
                         (+ (* (body-vx b) (body-vx b))
                            (* (body-vy b) (body-vy b))
                            (* (body-vz b) (body-vz b)))))
             (potential (apply + (map (lambda (o)
                                        (/ (* (body-mass b) (body-mass o))
                                           (sqrt (distance² b o))))
                                      others))))
         (loop others (+ sum (- kinetic potential))))))))

(define (attract! a b dt)
  (let* ((dx (- (body-x a) (body-x b)))
         (dy (- (body-y a) (body-y b)))
         (dz (- (body-z a) (body-z b)))
         (d² (+ (* dx dx) (* dy dy) (* dz dz)))
         (magnitude (/ dt (* d² (sqrt d²))))
         (pull-a (* (body-mass b) magnitude))
         (pull-b (* (body-mass a) magnitude)))
    (set-body-vx! a (- (body-vx a) (* dx pull-a)))
    (set-body-vy! a (- (body-vy a) (* dy pull-a)))
    (set-body-vz! a (- (body-vz a) (* dz pull-a)))
    (set-body-vx! b (+ (body-vx b) (* dx pull-b)))
    (set-body-vy! b (+ (body-vy b) (* dy pull-b)))
    (set-body-vz! b (+ (body-vz b) (* dz pull-b)))))

(define (advance! bodies dt)
  (let loop ((rest bodies))
    (when (pair? rest)
      (for-each (lambda (o) (attract! (car rest) o dt)) (cdr rest))
      (loop (cdr rest))))
  (for-each (lambda (b)
              (set-body-x! b (+ (body-x b) (* dt (body-vx b))))
              (set-body-y! b (+ (body-y b) (* dt (body-vy b))))
              (set-body-z! b (+ (body-z b) (* dt (body-vz b)))))
            bodies))

(define (main steps)
  (let ((bodies (solar-system)))
    (stop-the-centre-of-mass! bodies)
    (format #t "~,9f~%" (energy bodies))
    (do ((i 0 (+ i 1))) ((= i steps))
      (advance! bodies 0.01))
    (format #t "~,9f~%" (energy bodies))))

(match (cdr (command-line))
  (() (main 100000))
  (((= string->number (? exact-integer? steps))) (main steps))
  (_ (format (current-error-port) "usage: n-body.scm [STEPS]~%")
     (exit 2)))
