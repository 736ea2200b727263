// All memory that the library allocates: from malloc(), or from the functions of sqz_set_allocator().
#ifndef SQZ_MEMORY_H_
#define SQZ_MEMORY_H_

#include <stddef.h>

namespace sqz {

// Memory at a multiple of 64 bytes; null if there is none. deallocate() calls the release function that belongs to it,
// whatever was set meanwhile.
void *allocate(size_t bytes);
void deallocate(void *memory);  // may be null

}  // namespace sqz

#endif  // SQZ_MEMORY_H_
