# Cross-compilation for 32-bit ARM with Debian's packages (g++-arm-linux-gnueabihf, qemu-user):
#   cmake -DCMAKE_TOOLCHAIN_FILE=tests/arm/armv7.cmake ...
set(CMAKE_SYSTEM_PROCESSOR armv7l)
set(triple arm-linux-gnueabihf)
set(emulator qemu-arm)
include(${CMAKE_CURRENT_LIST_DIR}/debian.cmake)
