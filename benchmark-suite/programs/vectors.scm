;;; Sort vectors of pairs; large vectors and bytevectors that come and go.

(use-modules (rnrs bytevectors))

(define (random-pairs n)
  (let ((v (make-vector n)))
    (let loop ((i 0) (x 12345))
      (when (< i n)
        (vector-set! v i (cons x i))
        (loop (1+ i) (modulo (+ (* x 1103515245) 12345) 2147483648))))
    v))

(do ((i 0 (1+ i))) ((= i 2))
  (sort (random-pairs 300000) (lambda (a b) (< (car a) (car b)))))

(let loop ((i 0) (kept '()))
  (when (< i 2000)
    (make-bytevector (* 1000 (1+ (modulo i 200))) 1)
    (loop (1+ i)
          (if (zero? (modulo i 50)) '() (cons (make-vector 10000 i) kept)))))
