// The floating-point modes that every kernel runs under.
#ifndef SQZ_THREADING_FLOAT_ENVIRONMENT_H_
#define SQZ_THREADING_FLOAT_ENVIRONMENT_H_

#include <stdint.h>

namespace sqz {

// Arithmetic on scalar arguments. Rounds to nearest, whatever the caller's rounding mode, and raises no trap.
float narrow(double x);
bool between(double x, double low, double high);  // false for NaN
float reciprocal_root(int64_t n);                 // 1 / sqrt(n)

// Sets round to nearest, with denormals and without traps, for the scope of a C entry point or of a worker's task. The
// destructor restores the caller's modes.
class FloatEnvironment {
 public:
  FloatEnvironment();
  ~FloatEnvironment();
  FloatEnvironment(const FloatEnvironment &) = delete;
  FloatEnvironment &operator=(const FloatEnvironment &) = delete;

 private:
  uint64_t saved_;
};

}  // namespace sqz

#endif  // SQZ_THREADING_FLOAT_ENVIRONMENT_H_
