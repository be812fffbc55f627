;;; A small web server that keeps notes in memory.
;;;
;;; Usage: ./run examples/web-server.scm [--port=PORT] [--requests=N]
;;;
;;;   curl -X POST -d 'buy milk' localhost:8080/notes    adds a note, says its number
;;;   curl localhost:8080/notes                          lists all
;;;   curl localhost:8080/notes/1                        shows one
;;;   curl -X DELETE localhost:8080/notes/1              removes it
;;;   curl localhost:8080/gc                             what the collector has done
;;;
;;; It listens on this machine only.  With --requests=N it ends after N requests.

(use-modules (ice-9 format)
             (ice-9 getopt-long)
             (ice-9 match)
             (rnrs bytevectors)
             (srfi srfi-1)
             (web request)
             (web response)
             (web server)
             (web uri))

(define notes (make-hash-table))
(define next-number 1)
(define served 0)

(define* (reply text #:key (code 200))
  (values (build-response #:code code
                          #:headers '((content-type . (text/plain (charset . "utf-8")))))
          (string->utf8 (string-append text "\n"))))

(define (all-notes)
  (string-join
   (map (match-lambda ((n . text) (format #f "~a: ~a" n text)))
        (sort (hash-map->list cons notes)
              (lambda (a b) (< (car a) (car b)))))
   "\n"))

(define (add-note! text)
  (let ((n next-number))
    (set! next-number (+ n 1))
    (hashv-set! notes n text)
    n))

(define (handle request body)
  (set! served (+ served 1))
  (match (cons (request-method request)
               (split-and-decode-uri-path (uri-path (request-uri request))))
    (('GET) (reply "notes are at /notes"))
    (('GET "gc")
     (reply (string-join (map (match-lambda ((k . v) (format #f "~a: ~a" k v)))
                              (gc-stats))
                         "\n")))
    (('GET "notes") (reply (all-notes)))
    (('POST "notes")
     (if body
         (reply (number->string (add-note! (if (bytevector? body)
                                               (utf8->string body)
                                               body)))
                #:code 201)
         (reply "empty note" #:code 400)))
    (('GET "notes" (= string->number n))
     (let ((text (and n (hashv-ref notes n))))
       (if text (reply text) (reply "no such note" #:code 404))))
    (('DELETE "notes" (= string->number n))
     (cond ((and n (hashv-ref notes n))
            (hashv-remove! notes n)
            (reply "removed"))
           (else (reply "no such note" #:code 404))))
    (_ (reply "not found" #:code 404))))

(define (serve port requests)
  (let* ((socket (socket PF_INET SOCK_STREAM 0))
         (address (make-socket-address AF_INET INADDR_LOOPBACK port)))
    (setsockopt socket SOL_SOCKET SO_REUSEADDR 1)
    (bind socket address)
    (let* ((http (lookup-server-impl 'http))
           (server (open-server http (list #:socket socket))))
      (format #t "listening on port ~a~%" (sockaddr:port (getsockname socket)))
      (force-output)
      (let loop ()
        (unless (and requests (>= served requests))
          (serve-one-client handle http server '())
          (loop)))
      (close-server http server))))

(let* ((options (getopt-long (command-line)
                             '((port (value #t))
                               (requests (value #t))
                               (help))))
       (number-of (lambda (name default)
                    (let ((given (option-ref options name #f)))
                      (if given
                          (or (string->number given)
                              (begin
                                (format (current-error-port)
                                        "web-server: --~a needs a number~%" name)
                                (exit 2)))
                          default)))))
  (when (option-ref options 'help #f)
    (format #t "usage: web-server.scm [--port=PORT] [--requests=N]~%")
    (exit 0))
  (serve (number-of 'port 8080) (number-of 'requests #f)))
