// The part of QEMU's interface for TCG plugins, version 1 (QEMU 4.2 to 8.2), that count.c uses: distributions do not
// package the header. What is declared here is described at https://www.qemu.org/docs/master/devel/tcg-plugins.html
#ifndef SQZ_BENCH_ARM_QEMU_PLUGIN_H_
#define SQZ_BENCH_ARM_QEMU_PLUGIN_H_

#include <stddef.h>
#include <stdint.h>

#define QEMU_PLUGIN_EXPORT __attribute__((visibility("default")))

enum { QEMU_PLUGIN_INLINE_ADD_U64 = 0 };  // enum qemu_plugin_op
enum { QEMU_PLUGIN_CB_NO_REGS = 0 };      // enum qemu_plugin_cb_flags

struct qemu_plugin_tb;    // a block of instructions that is entered at its first and translated at once
struct qemu_plugin_insn;  // one of them

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;

// What a plugin must define.
QEMU_PLUGIN_EXPORT extern int qemu_plugin_version;
QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv);

// What QEMU defines.
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, void *), void *data);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int op, void *ptr, uint64_t imm);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, void (*cb)(unsigned vcpu, void *data),
                                            int flags, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);

#endif  // SQZ_BENCH_ARM_QEMU_PLUGIN_H_
