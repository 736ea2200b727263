/* Whether the calling thread's tiles are in use: their shapes 1, what they hold 2, as XINUSE has it. test_stand_ins.py
 * loads this. */
unsigned tile_state(void) {
  unsigned low, high;
  __asm__ volatile(".byte 0x0f, 0x01, 0xd0" /* xgetbv */ : "=a"(low), "=d"(high) : "c"(1));
  return low >> 17 & 3;
}
