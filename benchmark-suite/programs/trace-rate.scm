;;; How long does it take to trace a byte of live data?
;;;
;;; usage: trace-rate.scm [MEGABYTES [COLLECTIONS]]
;;;
;;; Builds about MEGABYTES (default: 100) of lists, vectors, records, closures,
;;; hash tables, strings, numbers and objects, forces major collections that
;;; find all of it live (default: 11), and prints the pause per live MiB: the
;;; least, and the median.  Between collections it allocates nothing to speak
;;; of.  Exits with status 1 if a structure has changed.

(use-modules (ice-9 format)
             (ice-9 match)
             (oop goops)
             (srfi srfi-1)
             (srfi srfi-9))

(define-values (megabytes collections)
  (match (map string->number (cdr (command-line)))
    (() (values 100 11))
    ((mb) (values mb 11))
    ((mb n) (values mb n))))

(define-record-type <node>
  (make-node left right key data)
  node?
  (left node-left)
  (right node-right)
  (key node-key)
  (data node-data))

(define-class <thing> ()
  (name #:init-keyword #:name #:getter thing-name)
  (parts #:init-keyword #:parts #:getter thing-parts))

(define (tree depth key)
  (if (zero? depth)
      #f
      (make-node (tree (- depth 1) (* 2 key))
                 (tree (- depth 1) (+ 1 (* 2 key)))
                 key (* 1.5 key))))

(define (tree-size t)
  (if t (+ 1 (tree-size (node-left t)) (tree-size (node-right t))) 0))

(define (table n)
  (let ((t (make-hash-table)))
    (let lp ((i 0))
      (when (< i n)
        (hashv-set! t i (vector i (number->string i)))
        (lp (+ i 1))))
    t))

(define (counters n)
  (let lp ((i 0) (l '()))
    (if (< i n)
        (let ((count i) (step (list i)))
          (lp (+ i 1)
              (cons (lambda () (set! count (+ count (car step))) count) l)))
        l)))

;; About half a megabyte.
(define (unit seed)
  (vector (iota 5000 seed)
          (map (lambda (i) (list i (* 0.5 i) (cons i seed))) (iota 1000))
          (tree 10 1)
          (table 700)
          (counters 600)
          (list->vector (map (lambda (i) (make-vector 7 (list i)))
                             (iota 800)))
          (map (lambda (i) (make <thing> #:name (string->symbol
                                                 (number->string (modulo i 90)))
                                 #:parts (list i seed)))
               (iota 300))
          (map (lambda (i) (string-append "item " (number->string i)))
               (iota 800))))

(define (intact? unit seed)
  (match unit
    (#(numbers lists tree table counters vectors things strings)
     (and (= (fold + 0 numbers) (+ (* 5000 seed) (/ (* 5000 4999) 2)))
          (equal? (list-ref lists 500) (list 500 250.0 (cons 500 seed)))
          (= (tree-size tree) 1023)
          (equal? (hashv-ref table 99) (vector 99 "99"))
          (= 14 ((list-ref counters (- 600 1 7))))
          (equal? (vector-ref (vector-ref vectors 8) 3) '(8))
          (equal? (thing-parts (list-ref things 9)) (list 9 seed))
          (equal? (list-ref strings 12) "item 12")))))

(define (stat key) (assq-ref (gc-stats) key))

;; Old garbage between the structures, as a program has it.
(define units
  (let lp ((i 0) (l '()))
    (if (< (+ (* i 500000)) (* megabytes 1000000))
        (let* ((u (unit i)) (garbage (unit i)))
          (lp (+ i 1) (cons u l)))
        (reverse! l))))

;; Twice, so that everything is old, and swept.
(gc 'major)
(gc 'major)

(define (pause)
  (let ((before (stat 'gc-total-pause-nanoseconds)))
    (gc 'major)
    (- (stat 'gc-total-pause-nanoseconds) before)))

(define pauses (sort (map (lambda (i) (pause)) (iota collections)) <))
(define mib (/ (stat 'heap-live-size) 1048576.0))

(define (per-mib nanoseconds) (/ nanoseconds 1000 mib))

(format #t "~,1f MiB live; pause per live MiB: least ~,1f us, median ~,1f us\n"
        mib
        (per-mib (car pauses))
        (per-mib (list-ref pauses (quotient collections 2))))

(unless (every intact? units (iota (length units)))
  (format #t "damaged\n")
  (exit 1))
