// Classify texts in C++:
//
//     c++ classify.cc -o classify $(pkg-config --cflags --libs squeezeops)
//     ./classify model.safetensors "a gorgeous, witty, seductive movie"
//
// Prints a line per text: the class, its score, the logits of all classes, the text.
#include <squeezeops/squeezeops.h>

#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

static void check(sqz_status status) {
  if (status != SQZ_OK) throw std::runtime_error(sqz_error_message());
}

class Classifier {
 public:
  explicit Classifier(const char *path) {
    check(sqz_model_open(path, nullptr, &model_));
    info_.size = sizeof info_;
    check(sqz_model_get_info(model_, &info_));
  }
  ~Classifier() { sqz_model_close(model_); }
  Classifier(const Classifier &) = delete;

  // The class and its score; fills in the logits.
  std::pair<std::string, double> operator()(const std::string &text, std::vector<float> &logits) const {
    logits.resize(static_cast<size_t>(info_.labels));
    sqz_model_classify_args args{};
    args.size = sizeof args;
    args.model = model_;
    args.text = {text.data(), static_cast<int64_t>(text.size())};
    args.logits = logits.data();
    check(sqz_model_classify(&args));
    char label[64];
    sqz_model_label(model_, args.label, label, sizeof label);
    return {label, args.score};
  }

 private:
  sqz_model model_;
  sqz_model_info info_{};
};

int main(int argc, char **argv) try {
  if (argc < 3) throw std::runtime_error("usage: classify MODEL TEXT...");
  const Classifier classify(argv[1]);
  std::vector<float> logits;
  for (int i = 2; i < argc; ++i) {
    const auto result = classify(argv[i], logits);
    std::printf("%s %.4f", result.first.c_str(), result.second);
    for (float logit : logits) std::printf(" %.9g", logit);
    std::printf(" %s\n", argv[i]);
  }
} catch (const std::exception &error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
