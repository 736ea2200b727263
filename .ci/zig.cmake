# Toolchain file: ziglang's Clang, linker and C libraries. ZIG is the path of the program, TARGET names the platform,
# such as x86_64-linux-gnu.2.17.
set(CMAKE_SYSTEM_NAME Linux)
string(REGEX REPLACE "-.*" "" CMAKE_SYSTEM_PROCESSOR ${TARGET})
set(CMAKE_C_COMPILER ${ZIG} cc -target ${TARGET})
set(CMAKE_CXX_COMPILER ${ZIG} c++ -target ${TARGET})
# GCC and Clang omit frame pointers by themselves when they optimise. Zig's Clang keeps them unless it is told.
set(CMAKE_C_FLAGS_INIT -fomit-frame-pointer)
if("${TARGET}" MATCHES "^arm-")
  # By default the target has NEON, and the core must run without it. It is also compiled to instructions of 32 bits;
  # those of Thumb, 16 or 32 bits long, make the code a third smaller.
  list(APPEND CMAKE_C_COMPILER -mcpu=generic+v7a-neon+vfp3d16)
  list(APPEND CMAKE_CXX_COMPILER -mcpu=generic+v7a-neon+vfp3d16)
  string(APPEND CMAKE_C_FLAGS_INIT " -Xclang -target-feature -Xclang +thumb-mode"
                                   " -include ${CMAKE_CURRENT_LIST_DIR}/pyconfig_32.h")
endif()
set(CMAKE_CXX_FLAGS_INIT "${CMAKE_C_FLAGS_INIT}")
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ZIG TARGET)
