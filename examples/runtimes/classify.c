/* Classify texts in C:
 *
 *     cc classify.c -o classify $(pkg-config --cflags --libs squeezeops)
 *     ./classify model.safetensors "a gorgeous, witty, seductive movie"
 *
 * Prints a line per text: the class, its score, the logits of all classes, the text.
 */
#include <squeezeops/squeezeops.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed(void) {
  fprintf(stderr, "%s\n", sqz_error_message());
  return 1;
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: %s MODEL TEXT...\n", argv[0]);
    return 2;
  }
  sqz_model model;
  sqz_model_info info = {.size = sizeof info};
  if (sqz_model_open(argv[1], NULL, &model) || sqz_model_get_info(model, &info)) return failed();
  float *logits = malloc((size_t)info.labels * sizeof *logits);
  if (!logits) return 1;
  for (int i = 2; i < argc; ++i) {
    sqz_model_classify_args args = {.size = sizeof args, .model = model, .logits = logits};
    args.text = (sqz_text){argv[i], (int64_t)strlen(argv[i])};
    char label[64];
    if (sqz_model_classify(&args)) return failed();
    if (sqz_model_label(model, args.label, label, sizeof label) < 0) return failed();
    printf("%s %.4f", label, args.score);
    for (int64_t k = 0; k < info.labels; ++k) printf(" %.9g", logits[k]);
    printf(" %s\n", argv[i]);
  }
  free(logits);
  return sqz_model_close(model) ? failed() : 0;
}
