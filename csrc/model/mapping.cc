// The bytes of a file, where the system has files.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/checks.h"
#include "model/file.h"

namespace sqz::model {

Mapping::~Mapping() {
  if (mapped_) munmap(mapped_, size_);
  deallocate(read_);
}

namespace {

// The whole file; null if it cannot be read.
void *read_all(int file, size_t size) {
  void *memory = allocate(size);
  if (!memory) return nullptr;
  size_t done = 0;
  while (done < size) {
    const ssize_t n = pread(file, static_cast<char *>(memory) + done, size - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  if (done == size) return memory;
  deallocate(memory);
  return nullptr;
}

}  // namespace

sqz_status Mapping::open(const char *path) {
  SQZ_CHECK(path, "path: expected a pointer, got NULL");
  struct stat status;
  const char *why = nullptr;
  // Opening a pipe would block until somebody writes to it.
  const int file = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0 || fstat(file, &status) != 0) {
    why = strerror(errno);
  } else if (!S_ISREG(status.st_mode)) {
    why = "a folder or a special file";
  } else if (status.st_size <= 0 || static_cast<uint64_t>(status.st_size) > PTRDIFF_MAX) {
    why = status.st_size <= 0 ? "an empty file" : "one too large";
  } else {
    size_ = static_cast<size_t>(status.st_size);
    for (int flags : {MAP_SHARED, MAP_PRIVATE}) {
      void *mapped = mmap(nullptr, size_, PROT_READ, flags, file, 0);
      if (mapped != MAP_FAILED) {
        mapped_ = mapped;
        break;
      }
    }
    if (!mapped_) read_ = read_all(file, size_);
    data_ = static_cast<const char *>(mapped_ ? mapped_ : read_);
    if (!data_) why = "one that can be neither mapped nor read";
  }
  if (file >= 0) close(file);
  SQZ_CHECK(!why, "path: expected a file that squeezeops convert wrote, got %s", why);
  return SQZ_OK;
}

}  // namespace sqz::model
