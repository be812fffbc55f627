;;; Eight threads that make trees.

(use-modules (ice-9 threads))

(define (tree depth)
  (if (zero? depth)
      '()
      (cons (tree (1- depth)) (tree (1- depth)))))

(define (work)
  (let ((kept (tree 12)))
    (do ((i 0 (1+ i))) ((= i 60))
      (tree 14))
    kept))

(for-each join-thread
          (map (lambda (i) (call-with-new-thread work)) (iota 8)))
