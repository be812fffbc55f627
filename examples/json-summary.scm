;;; What is in a JSON document?
;;;
;;; Usage: ./run examples/json-summary.scm [FILE]
;;; Reads JSON from FILE or standard input: one value, or one value after the other
;;; as in log files.  For every path in it ("items[].price"), prints how often it
;;; occurs, with which types, and the range of its numbers or the number of its
;;; different strings.

(use-modules (ice-9 exceptions)
             (ice-9 format)
             (ice-9 match)
             (ice-9 textual-ports)
             (srfi srfi-1)
             (srfi srfi-9))

;;; Reading.  Objects become association lists after the symbol "object", arrays
;;; become vectors, null the symbol "null".

(define (json-error port what)
  (error (format #f "~a:~a:~a: ~a"
                 (or (port-filename port) "standard input")
                 (+ 1 (port-line port)) (+ 1 (port-column port)) what)))

(define (skip-space port)
  (let ((c (lookahead-char port)))
    (when (and (char? c) (memv c '(#\space #\tab #\newline #\return)))
      (get-char port)
      (skip-space port))))

(define (expect port string)
  (string-for-each
   (lambda (want)
     (unless (eqv? want (get-char port))
       (json-error port (string-append "expected " string))))
   string))

(define (read-hex4 port)
  (or (string->number (get-string-n port 4) 16)
      (json-error port "bad \\u escape")))

(define (read-escaped port)
  (match (get-char port)
    (#\n #\newline) (#\t #\tab) (#\r #\return)
    (#\b #\backspace) (#\f #\page)
    (#\u (let ((high (read-hex4 port)))
           (if (<= #xd800 high #xdbff)
               (begin
                 (expect port "\\u")
                 (let ((low (read-hex4 port)))
                   (unless (<= #xdc00 low #xdfff)
                     (json-error port "unpaired surrogate"))
                   (integer->char (+ #x10000
                                     (ash (- high #xd800) 10)
                                     (- low #xdc00)))))
               (if (<= #xdc00 high #xdfff)
                   (json-error port "unpaired surrogate")
                   (integer->char high)))))
    ((and c (or #\" #\\ #\/)) c)
    (_ (json-error port "bad escape"))))

(define (read-string port)
  (expect port "\"")
  (let loop ((chars '()))
    (match (get-char port)
      (#\" (reverse-list->string chars))
      (#\\ (loop (cons (read-escaped port) chars)))
      ((? eof-object?) (json-error port "unfinished string"))
      ((? (lambda (c) (char<? c #\space))) (json-error port "control character"))
      (c (loop (cons c chars))))))

(define (read-number port)
  (let loop ((chars '()))
    (let ((c (lookahead-char port)))
      (if (and (char? c)
               (or (char-numeric? c) (memv c '(#\- #\+ #\. #\e #\E))))
          (loop (cons (get-char port) chars))
          (or (string->number (reverse-list->string chars))
              (json-error port "bad number"))))))

(define (read-sequence port open close read-item)
  (expect port open)
  (skip-space port)
  (if (eqv? (lookahead-char port) close)
      (begin (get-char port) '())
      (let loop ((items '()))
        (let ((items (cons (read-item port) items)))
          (skip-space port)
          (match (get-char port)
            (#\, (loop items))
            ((? (lambda (c) (eqv? c close))) (reverse items))
            (_ (json-error port (format #f "expected , or ~a" close))))))))

(define (read-member port)
  (skip-space port)
  (let ((key (read-string port)))
    (skip-space port)
    (expect port ":")
    (cons key (read-json port))))

(define (read-json port)
  (skip-space port)
  (match (lookahead-char port)
    (#\{ (cons 'object (read-sequence port "{" #\} read-member)))
    (#\[ (list->vector (read-sequence port "[" #\] read-json)))
    (#\" (read-string port))
    (#\t (expect port "true") #t)
    (#\f (expect port "false") #f)
    (#\n (expect port "null") 'null)
    ((? eof-object? eof) eof)
    ((? (lambda (c) (or (char-numeric? c) (eqv? c #\-)))) (read-number port))
    (c (json-error port (format #f "unexpected ~s" c)))))

;;; Summing up.

(define-record-type <facts>
  (make-facts count types minimum maximum sum strings)
  facts?
  (count facts-count set-facts-count!)
  (types facts-types set-facts-types!)
  (minimum facts-minimum set-facts-minimum!)
  (maximum facts-maximum set-facts-maximum!)
  (sum facts-sum set-facts-sum!)
  (strings facts-strings))

(define (type-of value)
  (match value
    ((? string?) "string")
    ((? number?) "number")
    ((? boolean?) "boolean")
    ('null "null")
    ((? vector?) "array")
    (('object . _) "object")))

(define (note! table path value)
  (let ((facts (or (hash-ref table path)
                   (hash-set! table path
                              (make-facts 0 '() #f #f 0 (make-hash-table))))))
    (set-facts-count! facts (+ 1 (facts-count facts)))
    (set-facts-types! facts (lset-adjoin string=? (facts-types facts) (type-of value)))
    (match value
      ((? number? n)
       (set-facts-minimum! facts (min n (or (facts-minimum facts) n)))
       (set-facts-maximum! facts (max n (or (facts-maximum facts) n)))
       (set-facts-sum! facts (+ n (facts-sum facts))))
      ((? string? s) (hash-set! (facts-strings facts) s #t))
      (_ #f))))

(define (walk table path value)
  (note! table path value)
  (match value
    (('object . members)
     (for-each (match-lambda
                 ((key . item)
                  (walk table (if (string-null? path) key (string-append path "." key))
                        item)))
               members))
    ((? vector?)
     (vector-for-each (lambda (item) (walk table (string-append path "[]") item))
                      value))
    (_ #f)))

(define (vector-for-each f v)
  (do ((i 0 (+ i 1))) ((= i (vector-length v)))
    (f (vector-ref v i))))

(define (print-summary table)
  (for-each
   (match-lambda
     ((path . facts)
      (format #t "~a  ~a ×  ~a~a~a~%"
              (if (string-null? path) "(document)" path)
              (facts-count facts)
              (string-join (sort (facts-types facts) string<?) ", ")
              (if (facts-minimum facts)
                  (format #f "  ~a … ~a, sum ~a"
                          (facts-minimum facts) (facts-maximum facts)
                          (facts-sum facts))
                  "")
              (match (hash-count (const #t) (facts-strings facts))
                (0 "")
                (n (format #f "  ~a different" n))))))
   (sort (hash-map->list cons table)
         (lambda (a b) (string<? (car a) (car b))))))

(define (summarise port)
  (set-port-encoding! port "UTF-8")
  (let ((table (make-hash-table)))
    (let loop ()
      (let ((value (read-json port)))
        (unless (eof-object? value)
          (walk table "" value)
          (loop))))
    (print-summary table)))

(set-port-encoding! (current-output-port) "UTF-8")
(with-exception-handler
 (lambda (e)
   (format (current-error-port) "json-summary: ~a~%"
           (if (and (exception-with-message? e))
               (apply format #f (exception-message e)
                      (if (exception-with-irritants? e) (exception-irritants e) '()))
               e))
   (exit 1))
 (lambda ()
   (match (cdr (command-line))
     (() (summarise (current-input-port)))
     ((file) (call-with-input-file file summarise))
     (_ (format (current-error-port) "usage: json-summary.scm [FILE]~%")
        (exit 2))))
 #:unwind? #f)
