;;; Records that die young; a thousand at a time live longer.

(use-modules (srfi srfi-9))

(define-record-type <point>
  (make-point x y next)
  point?
  (x point-x)
  (y point-y)
  (next point-next))

(define (run n)
  (let loop ((i 0) (kept '()) (sum 0))
    (if (= i n)
        sum
        (let ((point (make-point i (1+ i) kept)))
          (loop (1+ i)
                (if (zero? (modulo i 1000)) '() (cons point kept))
                (+ sum (point-x point)))))))

(unless (= (run 10000000) 49999995000000)
  (error "wrong sum"))
