;;; Small strings, string ports, splitting and joining.

(use-modules (ice-9 rdelim))

(define (items n)
  (let loop ((i 0) (kept '()) (length 0))
    (if (= i n)
        length
        (let ((item (string-append "item-" (number->string i)
                                   (string-upcase "abc"))))
          (loop (1+ i)
                (if (zero? (modulo i 20000)) '() (cons item kept))
                (+ length (string-length item)))))))

(define (lines n)
  (call-with-output-string
    (lambda (port)
      (do ((i 0 (1+ i))) ((= i n))
        (write i port)
        (newline port)))))

(define (count-lines text)
  (call-with-input-string text
    (lambda (port)
      (let loop ((n 0))
        (if (eof-object? (read-line port)) n (loop (1+ n)))))))

(items 1000000)
(let ((text (lines 300000)))
  (unless (= (count-lines text) 300000)
    (error "wrong number of lines"))
  (string-length (string-join (string-split text #\newline) ",")))
