// A plugin of QEMU for AArch64 that counts each instruction exactly:
//
//     qemu-aarch64 -plugin libcount.so,out=FILE PROGRAM
//
// The program divides its run into intervals by executing `hint #100`, which does nothing on any processor, in a
// function of its own. FILE gets, for each interval, the line "interval", and then for each block of instructions that
// ran in it a line with its address, how often it ran, and its words, in hexadecimal.
//
// A block is counted when it is entered. It is left in its middle only by a fault, which a correct program has none of.
// The counters are added to without locks, so the program must have one thread while it is measured.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The part of QEMU's interface for TCG plugins, version 1 (QEMU 4.2 to 8.2), that is used here: distributions do not
// package the header. It is described at https://www.qemu.org/docs/master/devel/tcg-plugins.html
#define QEMU_PLUGIN_EXPORT __attribute__((visibility("default")))
enum { QEMU_PLUGIN_INLINE_ADD_U64 = 0, QEMU_PLUGIN_CB_NO_REGS = 0 };  // of enums of their own
struct qemu_plugin_tb;    // a block of instructions that is entered at its first and translated at once
struct qemu_plugin_insn;  // one of them
typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, void *), void *data);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int op, void *ptr, uint64_t imm);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, void (*cb)(unsigned vcpu, void *data),
                                            int flags, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);

#define MARK UINT32_C(0xd5032c9f)  // hint #100

struct block {
  struct block *next;
  uint64_t count, address;
  size_t length;
  uint32_t words[];
};

QEMU_PLUGIN_EXPORT int qemu_plugin_version = 1;

static struct block *blocks;
static FILE *out;

static void write_interval(void) {
  fputs("interval\n", out);
  for (struct block *b = blocks; b; b = b->next) {
    if (!b->count) continue;
    fprintf(out, "%" PRIx64 " %" PRIx64, b->address, b->count);
    for (size_t i = 0; i < b->length; ++i) fprintf(out, " %" PRIx32, b->words[i]);
    fputc('\n', out);
    b->count = 0;
  }
}

static void on_mark(unsigned vcpu, void *data) {
  (void)vcpu, (void)data;
  write_interval();
}

static void on_exit_of_program(qemu_plugin_id_t id, void *data) {
  (void)id, (void)data;
  write_interval();
  fclose(out);
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  const size_t n = qemu_plugin_tb_n_insns(tb);
  struct block *b = malloc(sizeof *b + n * sizeof b->words[0]);
  if (!b) abort();
  *b = (struct block){blocks, 0, qemu_plugin_tb_vaddr(tb), n};
  for (size_t i = 0; i < n; ++i) {
    struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
    memcpy(&b->words[i], qemu_plugin_insn_data(insn), sizeof b->words[i]);
    if (b->words[i] == MARK) qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, QEMU_PLUGIN_CB_NO_REGS, NULL);
  }
  blocks = b;
  qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &b->count, 1);
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
  (void)info;
  for (int i = 0; i < argc; ++i) {
    if (!strncmp(argv[i], "out=", 4)) out = fopen(argv[i] + 4, "w");
  }
  if (!out) {
    fputs("count: expected out=FILE, a file that can be written\n", stderr);
    return 1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_atexit_cb(id, on_exit_of_program, NULL);
  return 0;
}
