;;; Solve sudokus by constraint propagation and depth-first search.
;;;
;;; Usage: ./run examples/sudoku.scm [PUZZLE...]
;;; A puzzle is 81 characters, row by row, with . or 0 for an empty cell; other
;;; characters are ignored.  Without arguments, solves a famously hard one.
;;;
;;; The state is a persistent vector of bit sets, copied at every branch of the
;;; search: the garbage of a tree search, old and young.

(use-modules (ice-9 format)
             (ice-9 match)
             (srfi srfi-1))

(define hard
  "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4..")

;; For every cell, the cells that share a row, column or box with it.
(define peers
  (list->vector
   (map (lambda (cell)
          (let ((row (quotient cell 9)) (column (remainder cell 9)))
            (filter (lambda (other)
                      (let ((r (quotient other 9)) (c (remainder other 9)))
                        (and (not (= other cell))
                             (or (= r row) (= c column)
                                 (and (= (quotient r 3) (quotient row 3))
                                      (= (quotient c 3) (quotient column 3)))))))
                    (iota 81))))
        (iota 81))))

(define all-digits #b111111111)

(define (digit-set d) (ash 1 (- d 1)))

(define (digits set)
  (filter (lambda (d) (logtest set (digit-set d))) (iota 9 1)))

(define (assign! cells cell set)
  "Restrict CELL to SET, which has one digit, and propagate.  #f if impossible."
  (vector-set! cells cell set)
  (every (lambda (peer)
           (let* ((before (vector-ref cells peer))
                  (after (logand before (lognot set))))
             (cond ((= before after) #t)
                   ((zero? after) #f)
                   ((= 1 (logcount after)) (assign! cells peer after))
                   (else (vector-set! cells peer after) #t))))
         (vector-ref peers cell)))

(define (most-constrained cells)
  "The open cell with the fewest choices, or #f if none is open."
  (let loop ((cell 0) (best #f) (choices 10))
    (if (= cell 81)
        best
        (let ((n (logcount (vector-ref cells cell))))
          (if (and (> n 1) (< n choices))
              (loop (+ cell 1) cell n)
              (loop (+ cell 1) best choices))))))

(define nodes 0)

(define (search cells)
  "A solved copy of CELLS, or #f."
  (set! nodes (+ nodes 1))
  (let ((cell (most-constrained cells)))
    (if (not cell)
        cells
        (any (lambda (d)
               (let ((copy (vector-copy cells)))
                 (and (assign! copy cell (digit-set d))
                      (search copy))))
             (digits (vector-ref cells cell))))))

(define (parse puzzle)
  (let ((given (filter-map (lambda (c)
                             (cond ((memv c '(#\. #\0)) 0)
                                   ((char-numeric? c) (- (char->integer c) 48))
                                   (else #f)))
                           (string->list puzzle))))
    (unless (= 81 (length given))
      (format (current-error-port) "sudoku: a puzzle has 81 cells, this one has ~a~%"
              (length given))
      (exit 2))
    given))

(define (solve puzzle)
  (let ((cells (make-vector 81 all-digits)))
    (and (every (lambda (cell d)
                  (or (zero? d)
                      (and (logtest (vector-ref cells cell) (digit-set d))
                           (assign! cells cell (digit-set d)))))
                (iota 81) (parse puzzle))
         (search cells))))

(define (show cells)
  (for-each (lambda (row)
              (format #t "~a~%"
                      (string-join
                       (map (lambda (column)
                              (match (digits (vector-ref cells (+ column (* 9 row))))
                                ((d) (number->string d))))
                            (iota 9)))))
            (iota 9)))

(for-each (lambda (puzzle)
            (set! nodes 0)
            (let ((solution (solve puzzle)))
              (if solution
                  (begin (show solution)
                         (format #t "~a nodes searched~%" nodes))
                  (format #t "no solution~%"))))
          (match (cdr (command-line))
            (() (list hard))
            (puzzles puzzles)))
