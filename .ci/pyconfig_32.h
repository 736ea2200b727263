// Included before every source for a 32-bit system: Python's headers are this machine's, where some types are longer.
#if __has_include(<pyconfig.h>)
#include <pyconfig.h>
#undef SIZEOF_LONG
#undef SIZEOF_SIZE_T
#undef SIZEOF_VOID_P
#undef SIZEOF_UINTPTR_T
#undef SIZEOF_PTHREAD_T
#undef SIZEOF_TIME_T
#undef SIZEOF_LONG_DOUBLE
#undef ALIGNOF_LONG
#undef ALIGNOF_SIZE_T
#undef ALIGNOF_MAX_ALIGN_T
#define SIZEOF_LONG __SIZEOF_LONG__
#define SIZEOF_SIZE_T __SIZEOF_SIZE_T__
#define SIZEOF_VOID_P __SIZEOF_POINTER__
#define SIZEOF_UINTPTR_T __SIZEOF_POINTER__
#define SIZEOF_PTHREAD_T __SIZEOF_LONG__
#define SIZEOF_TIME_T __SIZEOF_LONG__
#define SIZEOF_LONG_DOUBLE __SIZEOF_LONG_DOUBLE__
#define ALIGNOF_LONG __SIZEOF_LONG__
#define ALIGNOF_SIZE_T __SIZEOF_SIZE_T__
#define ALIGNOF_MAX_ALIGN_T __BIGGEST_ALIGNMENT__
#endif
