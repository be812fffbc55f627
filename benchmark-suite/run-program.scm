;;; Run a program for `compare'.
;;;
;;; usage: run-program.scm REPORT FILE EXPRESSION
;;;
;;; Loads FILE, evaluates EXPRESSION if it is not empty, and writes to REPORT:
;;; CPU time in seconds, peak of resident memory in KiB, number of collections,
;;; and total and longest pause in seconds.  What the collector does not tell
;;; is -1.

(use-modules (ice-9 match)
             (ice-9 rdelim)
             (srfi srfi-1)
             (srfi srfi-13))

;; As the benchmarks of Larceny want it: after the name come, in any order, a
;; procedure and perhaps a count and a predicate for the result.
(define (run-benchmark name . args)
  (let ((count (or (find number? args) 1))
        (thunk (find procedure? args)))
    (do ((i 0 (1+ i))) ((= i count))
      (thunk))))

(define (peak-kib)
  (call-with-input-file "/proc/self/status"
    (lambda (port)
      (let loop ()
        (let ((line (read-line port)))
          (if (string-prefix? "VmHWM:" line)
              (string->number (second (string-tokenize line)))
              (loop)))))))

(define (seconds time)
  (exact->inexact (/ time internal-time-units-per-second)))

(define (write-report file)
  (let ((stats (gc-stats))
        (cpu (seconds (let ((t (times))) (+ (tms:utime t) (tms:stime t)))))
        (peak (peak-kib)))
    (call-with-output-file file
      (lambda (port)
        (for-each (lambda (figure) (write figure port) (newline port))
                  (list cpu peak
                        (assq-ref stats 'gc-times)
                        (seconds (assq-ref stats 'gc-time-taken))
                        (match (assq-ref stats 'gc-max-pause-nanoseconds)
                          (#f -1)
                          (ns (/ ns 1e9)))))))))

(match (command-line)
  ((_ report file expression)
   (load file)
   (unless (string-null? expression)
     (eval-string expression))
   (write-report report))
  (_
   (format (current-error-port) "usage: run-program.scm REPORT FILE EXPRESSION~%")
   (exit 2)))
