/* What the WebAssembly module has in place of functions of the C library; CMakeLists.txt renames their calls. */
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

char *sqz_getenv(const char *name);
void sqz_qsort(void *base, size_t count, size_t size, int (*compare)(const void *, const void *));
double sqz_strtod(const char *text, char **end);
int sqz_vsnprintf(char *text, size_t size, const char *format, va_list arguments);
int sqz_snprintf(char *text, size_t size, const char *format, ...);

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

/* The nearest integer to a quotient that is less than 2^31; of two, the even one. */
static uint32_t divide(big above, big below) {
  uint32_t quotient = 0;
  shift_left(&below, 31);
  for (int i = 31; i >= 0; --i) {
    quotient = quotient << 1 | (uint32_t)subtract(&above, &below);
    if (i > 0) halve(&below);
  }
  multiply_add(&above, 2, 0); /* twice what is left */
  const int half_or_more = subtract(&above, &below);
  return quotient + (half_or_more && (bits_of(&above) != 0 || quotient % 2));
}

typedef struct {
  char *text;
  size_t size, at;
} output;

static void put(output *o, const char *text, size_t size) {
  for (; size > 0; --size, ++text, ++o->at)
    if (o->at + 1 < o->size) o->text[o->at] = *text;
}

static void put_integer(output *o, unsigned long long x, unsigned base, int digits) {
  char text[20];
  int at = sizeof text;
  for (; x > 0 || digits > 0; x /= base, --digits) text[--at] = "0123456789abcdef"[x % base];
  put(o, text + at, sizeof text - (size_t)at);
}

/* As "%g" does: six digits, without zeros at their end. */
static void put_real(output *o, double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  if (bits >> 63) put(o, "-", 1);
  int exponent = (int)(bits >> 52 & 0x7FF);
  uint64_t fraction = bits & ((UINT64_C(1) << 52) - 1);
  if (exponent == 0x7FF || (bits << 1) == 0) {
    put(o, exponent == 0 ? "0" : fraction ? "nan" : "inf", exponent == 0 ? 1 : 3);
    return;
  }
  if (exponent > 0)
    fraction |= UINT64_C(1) << 52;
  else
    exponent = 1;
  exponent -= 1075; /* x is fraction * 2^exponent */
  /* The power of ten of the first digit: the first one for which six digits suffice. The estimate is too low. */
  int power = (exponent + 63 - __builtin_clzll(fraction)) * 1233 / 4096 - 3;
  uint32_t digits;
  do {
    big above = {{(uint32_t)fraction, (uint32_t)(fraction >> 32)}}, below = {{1}};
    shift_left(exponent > 0 ? &above : &below, exponent > 0 ? exponent : -exponent);
    ++power;
    for (int i = power; i < 5; ++i) multiply_add(&above, 10, 0);
    for (int i = power; i > 5; --i) multiply_add(&below, 10, 0);
    digits = divide(above, below);
  } while (digits >= 1000000);
  int count = 6;
  for (; digits % 10 == 0; digits /= 10) --count;
  char text[6];
  for (int i = count; i > 0; digits /= 10) text[--i] = (char)('0' + digits % 10);
  const int scientific = power < -4 || power > 5, before = scientific ? 1 : power + 1; /* digits before the point */
  if (before <= 0) put(o, "0", 1);
  for (int i = 0; i < before; ++i) put(o, i < count ? text + i : "0", 1);
  if (before < count) put(o, ".", 1);
  for (int i = before; i < count; ++i) put(o, i < 0 ? "0" : text + i, 1);
  if (scientific) {
    put(o, power < 0 ? "e-" : "e+", 2);
    put_integer(o, (unsigned)(power < 0 ? -power : power), 10, 2);
  }
}

/* For the formats of this library: %s, also with a precision, %d, %u, %lld, %llu, %zu, %02x and %g. That of the C library has
 * 128-bit floats and takes 16 KB. */
int sqz_vsnprintf(char *text, size_t size, const char *format, va_list arguments) {
  output o = {text, size, 0};
  for (; *format; ++format) {
    if (*format != '%') {
      put(&o, format, 1);
      continue;
    }
    size_t most = SIZE_MAX;
    if (*++format == '.') {
      most = 0;
      for (++format; *format >= '0' && *format <= '9'; ++format) most = 10 * most + (size_t)(*format - '0');
      if (*format == '*') {
        most = (size_t)va_arg(arguments, int);
        ++format;
      }
    }
    const int size_type = *format == 'z', wide = *format == 'l';
    format += size_type + 2 * wide;
    if (*format == 's') {
      const char *string = va_arg(arguments, const char *);
      size_t n = 0;
      while (n < most && string[n]) ++n;
      put(&o, string, n);
    } else if (*format == 'd') {
      const long long x = wide ? va_arg(arguments, long long) : va_arg(arguments, int);
      if (x < 0) put(&o, "-", 1);
      put_integer(&o, x < 0 ? 0 - (unsigned long long)x : (unsigned long long)x, 10, 1);
    } else if (*format == 'u') {
      put_integer(&o, wide ? va_arg(arguments, unsigned long long)
                      : size_type ? va_arg(arguments, size_t)
                                  : va_arg(arguments, unsigned), 10, 1);
    } else if (*format == '0') { /* "%02x" */
      put_integer(&o, va_arg(arguments, unsigned), 16, 2);
      format += 2;
    } else if (*format == 'g') {
      put_real(&o, va_arg(arguments, double));
    } else {
      put(&o, format, 1); /* "%%" */
    }
  }
  if (size > 0) text[o.at < size ? o.at : size - 1] = '\0';
  return (int)o.at;
}

int sqz_snprintf(char *text, size_t size, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int length = sqz_vsnprintf(text, size, format, arguments);
  va_end(arguments);
  return length;
}
