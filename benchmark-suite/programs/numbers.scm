;;; Boxed reals, fractions and large integers.

(define (reals n)
  (let loop ((i 0) (x 0.5) (kept '()))
    (if (= i n)
        x
        (loop (1+ i) (* 3.9 x (- 1.0 x))
              (if (zero? (modulo i 100)) '() (cons x kept))))))

(define (factorial n)
  (let loop ((i 1) (product 1))
    (if (> i n) product (loop (1+ i) (* i product)))))

(define (harmonic n)
  (let loop ((i 1) (sum 0))
    (if (> i n) sum (loop (1+ i) (+ sum (/ 1 i))))))

(reals 8000000)
(do ((i 0 (1+ i))) ((= i 300))
  (factorial 1200))
(do ((i 0 (1+ i))) ((= i 5))
  (number->string (factorial 4000)))
(harmonic 2000)
