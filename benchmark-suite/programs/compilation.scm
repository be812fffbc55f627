;;; Compile a program of a few hundred procedures, in memory.

(use-modules (system base compile))

(define (name i)
  (string->symbol (string-append "f" (number->string i))))

(define (program n)
  `(begin
     ,@(map (lambda (i)
              `(define (,(name i) x y)
                 (let loop ((i x) (acc '()))
                   (cond ((= i ,i) (reverse acc))
                         ((even? i) (loop (1+ i) (cons (* i y) acc)))
                         (else (loop (1+ i) (cons (list i acc) acc)))))))
            (iota n))))

(compile (program 400) #:from 'scheme #:to 'bytecode)
