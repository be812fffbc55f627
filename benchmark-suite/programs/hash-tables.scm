;;; Hash tables of strings and of pairs.

(define (strings n)
  (let ((table (make-hash-table)))
    (do ((i 0 (1+ i))) ((= i n))
      (hash-set! table (number->string i) (list i (* i 1.5))))
    (let loop ((i 0) (sum 0))
      (if (= i n)
          sum
          (loop (1+ i)
                (+ sum (car (hash-ref table (number->string i)))))))))

(define (identities n)
  (let ((table (make-hash-table))
        (keys (map list (iota n))))
    (for-each (lambda (key) (hashq-set! table key (cons key key))) keys)
    (let loop ((keys keys) (sum 0))
      (if (null? keys)
          sum
          (loop (cdr keys)
                (+ sum (caar (hashq-ref table (car keys)))))))))

(do ((i 0 (1+ i))) ((= i 2))
  (unless (= (strings 400000) (identities 400000) 79999800000)
    (error "wrong sum")))
