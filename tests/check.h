// For test programs: ends the program, with the place and the text of the condition, unless it holds.
#ifndef SQZ_TESTS_CHECK_H_
#define SQZ_TESTS_CHECK_H_

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                       \
  do {                                                                         \
    if (!(condition)) {                                                        \
      fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                                 \
    }                                                                          \
  } while (0)

#endif  // SQZ_TESTS_CHECK_H_
