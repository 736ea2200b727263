# Cross-compilation for 32-bit ARM with Debian's packages (g++-arm-linux-gnueabihf, qemu-user):
#   cmake -DCMAKE_TOOLCHAIN_FILE=tests/arm/armv7.cmake ...
# Clang uses the headers and libraries of the same packages: -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR armv7l)
if(NOT CMAKE_C_COMPILER)
  set(CMAKE_C_COMPILER arm-linux-gnueabihf-gcc)
endif()
if(NOT CMAKE_CXX_COMPILER)
  set(CMAKE_CXX_COMPILER arm-linux-gnueabihf-g++)
endif()
set(CMAKE_C_COMPILER_TARGET arm-linux-gnueabihf) # what Clang compiles for
set(CMAKE_CXX_COMPILER_TARGET arm-linux-gnueabihf)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-arm -L /usr/arm-linux-gnueabihf)
set(CMAKE_FIND_ROOT_PATH /usr/arm-linux-gnueabihf)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
