;;; Fragment the heap, then see how much memory the process keeps.
;;;
;;; usage: fragmentation.scm [MEGABYTES]
;;;
;;; Fills MEGABYTES (default: 500) with small vectors, drops nine of ten at
;;; random, goes on allocating vectors of 0.8 to 4 KB, then asks once for a
;;; collection and is idle for six seconds.  Prints the resident size of the
;;; process at each point, in MB, and at the end its ratio to the live data.
;;; Exits with status 1 if a surviving vector has changed.

(use-modules (ice-9 format)
             (ice-9 rdelim)
             (ice-9 match))

(define megabytes
  (match (command-line)
    ((_) 500)
    ((_ n) (string->number n))))

(define vector-length 16)
(define bytes-per-vector (* 8 (+ vector-length 2)))
(define count (quotient (* megabytes 1000000) bytes-per-vector))

(define (resident-megabytes)
  (let ((pages (cadr (string-split (call-with-input-file "/proc/self/statm"
                                     read-line)
                                   #\space))))
    (/ (* 4096 (string->number pages)) 1e6)))

(define (report what)
  (format #t "~a: ~,1f MB resident\n" what (resident-megabytes))
  (force-output))

;; The generator of POSIX's example, so that all collectors see the same.
(define random-integer
  (let ((state 12345))
    (lambda (limit)
      (set! state (logand (+ (* state 1103515245) 12345) #x7fffffff))
      (modulo (ash state -16) limit))))

(define survivors (make-vector count #f))

(define (for-each-index proc)
  (let lp ((i 0))
    (when (< i count)
      (proc i)
      (lp (1+ i)))))

(for-each-index
 (lambda (i) (vector-set! survivors i (make-vector vector-length i))))
(report "full")

(for-each-index
 (lambda (i)
   (unless (zero? (random-integer 10))
     (vector-set! survivors i #f))))

(define last-one #f)
(let lp ((i 0))
  (when (< i 1000000)
    (set! last-one (make-vector (+ 100 (modulo i 400)) 0))
    (lp (1+ i))))
(report "after dropping nine of ten and allocating on")

(gc)
(sleep 6)
(report "after one collection and six idle seconds")
(define idle (resident-megabytes))

(define surviving 0)
(for-each-index
 (lambda (i)
   (match (vector-ref survivors i)
     (#f #t)
     (v
      (set! surviving (1+ surviving))
      (unless (and (= (vector-ref v 0) i)
                   (= (vector-ref v (1- vector-length)) i))
        (format #t "vector ~a has changed\n" i)
        (exit 1))))))

(let ((live (/ (+ (* surviving bytes-per-vector) (* 8 count)) 1e6)))
  (format #t "live: ~,1f MB in ~a vectors; resident/live: ~,2f\n"
          live surviving (/ idle live)))
