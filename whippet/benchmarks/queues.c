/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Objects of medium life.  Each thread has first-in first-out queues of items
   with payloads of random size: an item lives until as many others as the
   queue is long were pushed.  It also has a ring of linked lists, each of which
   is replaced in its turn by a copy.  Most objects survive a few collections
   and then die, and the stores go from older to younger objects.  */

#include "bench-allocate.h"
#include "bench-main.h"

static int queue_count = 64;
static int queue_length = 1000;
static int payload_min = 8;
static int payload_max = 191;
static int list_count = 64;
static int list_length = 1000;
static double turnovers = 120;

static const struct bench_option options[] = {
    {"queues", "N", "Queues of each thread.", BENCH_OPTION_INT, &queue_count, 1,
     1e6},
    {"length", "N", "Items in a queue.", BENCH_OPTION_INT, &queue_length, 1,
     1e8},
    {"payload-max", "BYTES", "Greatest payload of an item.", BENCH_OPTION_INT,
     &payload_max, 8, 1 << 20},
    {"lists", "N", "Linked lists of each thread.", BENCH_OPTION_INT,
     &list_count, 1, 1e6},
    {"list-length", "N", "Elements of a list.", BENCH_OPTION_INT, &list_length,
     1, 1e6},
    {"turnovers", "F", "How often the contents of all queues are replaced.",
     BENCH_OPTION_REAL, &turnovers, 0, 1e6},
    BENCH_OPTIONS_END};

static size_t live_bytes(const struct bench *bench) {
  size_t sizes = (size_t)(payload_max - payload_min + 1), payload = 0;
  for (int n = payload_min; n <= payload_max; n++)
    payload += bench_large_footprint(bytes_size_for((size_t)n));
  size_t item = bench_footprint(sizeof(struct item)) + payload / sizes;
  size_t queue = bench_footprint(sizeof(struct queue)) + sizeof(void *) +
                 (size_t)queue_length * item;
  size_t element = bench_footprint(sizeof(struct pair)) +
                   bench_footprint(sizeof(struct box));
  /* While a list is copied there is one more.  */
  size_t lists = (size_t)(list_count + 1) * (size_t)list_length * element +
                 (size_t)list_count * sizeof(void *);
  return (size_t)bench->thread_count * ((size_t)queue_count * queue + lists);
}

/* The payload of an item follows from its serial number.  */

static size_t payload_length(uint64_t serial) {
  uint64_t sizes = (uint64_t)(payload_max - payload_min + 1);
  return (size_t)payload_min + (bench_mix(serial) >> 32) % sizes;
}

static uint8_t payload_byte(uint64_t serial) {
  return (uint8_t)(bench_mix(serial) | 1);
}

static void push_item(struct bench_thread *t, struct queue *queue_now,
                      uint64_t serial) {
  BENCH_LOCAL(struct queue, queue, queue_now);
  BENCH_LOCAL(struct bytes, payload, NULL);
  BENCH_PUSH(&t->roots, queue);
  BENCH_PUSH(&t->roots, payload);
  payload.v = allocate_bytes(t->mut, payload_length(serial));
  memset(payload.v->data, payload_byte(serial), payload.v->length);
  struct item *item = allocate_item(t->mut);
  item->serial = serial;
  item->payload = payload.v;
  if (queue.v->back)
    BENCH_STORE(t->mut, queue.v->back, sizeof(struct item), next, item);
  else
    BENCH_STORE(t->mut, queue.v, sizeof(struct queue), front, item);
  BENCH_STORE(t->mut, queue.v, sizeof(struct queue), back, item);
  queue.v->count++;
  BENCH_POP(&t->roots, payload);
  BENCH_POP(&t->roots, queue);
}

static void check_item(struct item *item, uint64_t serial) {
  BENCH_CHECK(item && item->serial == serial, "item %" PRIu64 " is lost",
              serial);
  struct bytes *payload = item->payload;
  size_t length = payload_length(serial);
  uint8_t byte = payload_byte(serial);
  BENCH_CHECK(payload->length == length && payload->data[0] == byte &&
                  payload->data[length / 2] == byte &&
                  payload->data[length - 1] == byte,
              "the payload of item %" PRIu64 " is wrong", serial);
}

static void pop_item(struct bench_thread *t, struct queue *queue,
                     uint64_t serial) {
  struct item *item = queue->front;
  check_item(item, serial);
  BENCH_STORE(t->mut, queue, sizeof(struct queue), front, item->next);
  if (!queue->front)
    queue->back = NULL;
  queue->count--;
}

/* Lists.  In generation G of a list the values are G, G + 1, ... in some
   order.  */

static struct pair *prepend(struct bench_thread *t, struct pair *list_now,
                            uint64_t value) {
  BENCH_LOCAL(struct pair, list, list_now);
  BENCH_LOCAL(struct box, box, NULL);
  BENCH_PUSH(&t->roots, list);
  BENCH_PUSH(&t->roots, box);
  box.v = allocate_box(t->mut);
  box.v->value = value;
  struct pair *pair = allocate_pair(t->mut);
  pair->head = box.v;
  pair->tail = list.v;
  BENCH_POP(&t->roots, box);
  BENCH_POP(&t->roots, list);
  return pair;
}

/* A list of the next generation, in reverse order.  */
static struct pair *copy_list(struct bench_thread *t, struct pair *list) {
  BENCH_LOCAL(struct pair, from, list);
  BENCH_LOCAL(struct pair, to, NULL);
  BENCH_PUSH(&t->roots, from);
  BENCH_PUSH(&t->roots, to);
  for (; from.v; from.v = from.v->tail)
    to.v = prepend(t, to.v, from.v->head->value + 1);
  BENCH_POP(&t->roots, to);
  BENCH_POP(&t->roots, from);
  return to.v;
}

static void check_list(struct pair *list, uint64_t generation) {
  uint64_t n = (uint64_t)list_length, count = 0, sum = 0;
  for (; list; list = list->tail, count++)
    sum += list->head->value;
  BENCH_CHECK(count == n && sum == n * generation + n * (n - 1) / 2,
              "a list of generation %" PRIu64 " is wrong", generation);
}

static struct pair *make_list(struct bench_thread *t) {
  BENCH_LOCAL(struct pair, list, NULL);
  BENCH_PUSH(&t->roots, list);
  for (int i = 0; i < list_length; i++)
    list.v = prepend(t, list.v, (uint64_t)i);
  BENCH_POP(&t->roots, list);
  return list.v;
}

static void set_slot(struct bench_thread *t, struct vector *vector, int i,
                     void *value) {
  BENCH_STORE(t->mut, vector, vector_size(vector), slots[i], value);
}

/* The vectors are passed as handles, because filling them allocates.  */
typedef BENCH_HANDLE(struct vector) vector_handle;

static void fill(struct bench_thread *t, vector_handle *queues,
                 vector_handle *lists) {
  queues->v = allocate_vector(t->mut, (size_t)queue_count);
  lists->v = allocate_vector(t->mut, (size_t)list_count);
  for (int i = 0; i < queue_count; i++) {
    struct queue *queue = allocate_queue(t->mut);
    set_slot(t, queues->v, i, queue);
    for (int j = 0; j < queue_length; j++)
      push_item(t, queues->v->slots[i], (uint64_t)j);
  }
  for (int i = 0; i < list_count; i++) {
    struct pair *list = make_list(t);
    set_slot(t, lists->v, i, list);
  }
}

static void turn_over(struct bench_thread *t, vector_handle *queues,
                      vector_handle *lists) {
  uint64_t length = (uint64_t)queue_length;
  uint64_t steps = bench_scaled(t->bench, turnovers * (double)length);
  uint64_t lists_done = 0;
  for (uint64_t serial = 0; serial < steps; serial++) {
    for (int i = 0; i < queue_count; i++) {
      pop_item(t, queues->v->slots[i], serial);
      push_item(t, queues->v->slots[i], serial + length);
    }
    /* All lists are replaced as often as all queues are.  */
    for (; lists_done * length < serial * (uint64_t)list_count; lists_done++) {
      int i = (int)(lists_done % (uint64_t)list_count);
      struct pair *list = copy_list(t, lists->v->slots[i]);
      check_list(list, lists_done / (uint64_t)list_count + 1);
      set_slot(t, lists->v, i, list);
    }
  }
  for (int i = 0; i < queue_count; i++)
    for (uint64_t j = 0; j < length; j++)
      pop_item(t, queues->v->slots[i], steps + j);
}

static void run(struct bench_thread *t) {
  vector_handle queues = {.v = NULL};
  vector_handle lists = {.v = NULL};
  BENCH_PUSH(&t->roots, queues);
  BENCH_PUSH(&t->roots, lists);
  fill(t, &queues, &lists);
  turn_over(t, &queues, &lists);
  BENCH_POP(&t->roots, lists);
  BENCH_POP(&t->roots, queues);
}

int main(int argc, char **argv) {
  static const struct bench_program program = {
      .name = "queues",
      .summary = "Queues and linked lists whose elements live for a while.",
      .options = options,
      .live_bytes = live_bytes,
      .run = run};
  return bench_main(&program, argc, argv);
}
