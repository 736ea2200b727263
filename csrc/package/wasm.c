/* What the WebAssembly module has in place of functions of the C library; CMakeLists.txt renames their calls. */
#include <stdint.h>
#include <stdlib.h>

char *sqz_getenv(const char *name);
void sqz_qsort(void *base, size_t count, size_t size, int (*compare)(const void *, const void *));
double sqz_strtod(const char *text, char **end);

/* The module has no environment variables, and getenv() would import functions of WASI. */
char *sqz_getenv(const char *name) {
  (void)name;
  return NULL;
}

static void swap(char *a, char *b, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    const char kept = a[i];
    a[i] = b[i];
    b[i] = kept;
  }
}

/* Heapsort: 0.4 KB where that of the C library has 12. */
void sqz_qsort(void *base, size_t count, size_t size, int (*compare)(const void *, const void *)) {
  char *const items = base;
  size_t parents = count / 2, end = count;
  while (end > 1) {
    if (parents > 0) {
      --parents; /* still making the heap */
    } else {
      --end;
      swap(items, items + end * size, size);
    }
    for (size_t parent = parents, child; (child = 2 * parent + 1) < end; parent = child) {
      if (child + 1 < end && compare(items + child * size, items + (child + 1) * size) < 0) ++child;
      if (compare(items + parent * size, items + child * size) >= 0) break;
      swap(items + parent * size, items + child * size, size);
    }
  }
}

/* An integer of up to 2048 bits, the lowest 32 first. */
enum { LIMBS = 64 };
typedef struct {
  uint32_t limb[LIMBS];
} big;

static void multiply_add(big *x, uint32_t factor, uint32_t more) {
  uint64_t carry = more;
  for (int i = 0; i < LIMBS; ++i) {
    carry += (uint64_t)x->limb[i] * factor;
    x->limb[i] = (uint32_t)carry;
    carry >>= 32;
  }
}

static void shift_left(big *x, int bits) {
  for (; bits >= 31; bits -= 31) multiply_add(x, UINT32_C(1) << 31, 0);
  multiply_add(x, UINT32_C(1) << bits, 0);
}

static void halve(big *x) {
  for (int i = 0; i < LIMBS; ++i) x->limb[i] = x->limb[i] >> 1 | (i + 1 < LIMBS ? x->limb[i + 1] << 31 : 0);
}

static int bits_of(const big *x) {
  int i = LIMBS;
  while (i > 0 && x->limb[i - 1] == 0) --i;
  return i == 0 ? 0 : 32 * i - __builtin_clz(x->limb[i - 1]);
}

/* x -= y, if that is not negative; returns whether it is not. */
static int subtract(big *x, const big *y) {
  big difference;
  int64_t carry = 0;
  for (int i = 0; i < LIMBS; ++i) {
    carry += (int64_t)x->limb[i] - y->limb[i];
    difference.limb[i] = (uint32_t)carry;
    carry >>= 32;
  }
  if (carry < 0) return 0;
  *x = difference;
  return 1;
}

/* Of what json.cc passes: a sign, up to 41 digits, "e" and an exponent. Rounds to nearest, ties to even. The C library's
 * has 128-bit floats and takes 13 KB. */
double sqz_strtod(const char *text, char **end) {
  big above = {{0}}, below = {{1}};
  const int negative = *text == '-';
  text += negative;
  for (; *text >= '0' && *text <= '9'; ++text) multiply_add(&above, 10, (uint32_t)(*text - '0'));
  long power = *text == 'e' ? strtol(text + 1, end, 10) : 0;
  double result = 0;
  if (bits_of(&above) == 0 || power < -400) {
    /* zero, or less than half the smallest number */
  } else if (power > 310) {
    result = __builtin_inf();
  } else {
    for (; power > 0; --power) multiply_add(&above, 10, 0);
    for (; power < 0; ++power) multiply_add(&below, 10, 0);
    /* The number is above / below. Its quotient times 2^scale has 54 or 55 bits; of subnormal numbers fewer, the last of
     * which is worth half the smallest number. */
    int scale = 54 - bits_of(&above) + bits_of(&below);
    if (scale > 1075) scale = 1075;
    shift_left(scale > 0 ? &above : &below, scale > 0 ? scale : -scale);
    shift_left(&below, 55);
    uint64_t quotient = 0;
    for (int i = 0; i < 56; ++i) {
      quotient = quotient << 1 | (uint64_t)subtract(&above, &below);
      halve(&below);
    }
    int dropped = quotient >> 54 ? 2 : 1;
    const uint64_t half = UINT64_C(1) << (dropped - 1), rest = quotient & (2 * half - 1);
    quotient >>= dropped;
    quotient += rest > half || (rest == half && (bits_of(&above) != 0 || quotient % 2));
    result = (double)quotient;
    for (dropped -= scale; dropped > 0 && result < __builtin_inf(); --dropped) result *= 2;
    for (; dropped < 0; ++dropped) result /= 2;
  }
  return negative ? -result : result;
}
