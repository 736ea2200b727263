# Toolchain file: ziglang's Clang, linker and C library for WebAssembly. ZIG is the path of the program.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR wasm32)
set(CMAKE_C_COMPILER ${ZIG} cc -target wasm32-wasi)
set(CMAKE_CXX_COMPILER ${ZIG} c++ -target wasm32-wasi)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ZIG)
