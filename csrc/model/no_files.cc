// In place of mapping.cc in a WebAssembly module, which has no files.
#include "api/checks.h"
#include "model/file.h"

namespace sqz::model {

Mapping::~Mapping() { static_cast<void>(mapped_), static_cast<void>(read_); }  // of files alone

sqz_status Mapping::open(const char *path) {
  SQZ_CHECK(path, "path: expected a pointer, got NULL");
  return fail(SQZ_UNSUPPORTED, "path: expected a build with files, got one without (use sqz_model_open_memory)");
}

}  // namespace sqz::model
