/* What benchmarks and tests of this project need of the library, and nobody else: the limits of the machine, and hooks.
 * The library exports these functions for its own bindings; the header is not installed, and they may change. They
 * follow the conventions of squeezeops.h. */
#ifndef SQZ_MEASURE_MEASURE_H_
#define SQZ_MEASURE_MEASURE_H_

#include "squeezeops/squeezeops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How fast the machine multiplies and adds floats in registers: with the instructions of the ISA in force, on all
 * threads of a call at once, for `seconds` (above 0, at most 10; 50e-6 will do). A multiply-add counts as two
 * operations. */
SQZ_API sqz_status sqz_measure_fma(double seconds, double *operations_per_second);

/* The same for products of bytes, with the instructions of the int8 kernels. A product and its addition count as two.
 */
SQZ_API sqz_status sqz_measure_s8(double seconds, double *operations_per_second);

/* How fast the machine reads: the best of summing n floats in order, with prefetching, and from four places at once. n
 * is at least 2^20; for the speed of memory take several times the last-level cache. */
SQZ_API sqz_status sqz_measure_read(int64_t n, const float *x, double *bytes_per_second);

/* Symbol of the kernel that last ran for this thread; "" before the first. */
SQZ_API const char *sqz_measure_last_kernel(void);

/* CPUs that the cgroup quota below the folder `root` grants (NULL or "": that of the system); 0 if there is no limit.
 */
SQZ_API double sqz_measure_cpu_quota(const char *root);

#ifdef __cplusplus
}
#endif

#endif /* SQZ_MEASURE_MEASURE_H_ */
