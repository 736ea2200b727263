# Toolchain file: ziglang's Clang, linker and C libraries. ZIG is the path of the program, TARGET names the platform,
# such as x86_64-linux-gnu.2.17.
set(CMAKE_SYSTEM_NAME Linux)
string(REGEX REPLACE "-.*" "" CMAKE_SYSTEM_PROCESSOR ${TARGET})
set(CMAKE_C_COMPILER ${ZIG} cc -target ${TARGET})
set(CMAKE_CXX_COMPILER ${ZIG} c++ -target ${TARGET})
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ZIG TARGET)
