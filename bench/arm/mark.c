// For programs that are not ours: what the plugin count.c takes for the end of an interval.
void mark(void) { __asm__ volatile("hint #100" ::: "memory"); }
