# Cross-compilation for 64-bit ARM with Debian's packages (g++-aarch64-linux-gnu, qemu-user):
#   cmake -DCMAKE_TOOLCHAIN_FILE=tests/arm/aarch64.cmake ...
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(triple aarch64-linux-gnu)
set(emulator qemu-aarch64)
include(${CMAKE_CURRENT_LIST_DIR}/debian.cmake)
