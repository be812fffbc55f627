;;; Escapes, re-entrant continuations, prompts.

(define (escapes n)
  (let loop ((i 0) (sum 0))
    (if (= i n)
        sum
        (loop (1+ i)
              (+ sum (call/cc (lambda (k) (if (even? i) (k i) i))))))))

(define tag (make-prompt-tag))

(define (generate n)
  (let loop ((i 0))
    (when (< i n)
      (abort-to-prompt tag i)
      (loop (1+ i)))))

(define (consume thunk)
  (let loop ((thunk thunk) (sum 0))
    (let ((next (call-with-prompt tag
                  (lambda () (thunk) #f)
                  (lambda (k value) (cons k value)))))
      (if next
          (loop (car next) (+ sum (cdr next)))
          sum))))

(unless (= (escapes 1000000) 499999500000)
  (error "wrong sum"))
(do ((i 0 (1+ i))) ((= i 200))
  (unless (= (consume (lambda () (generate 300))) 44850)
    (error "wrong sum")))
