// `cairn data`: makes synthetic data with a planted truth.
#include <gflags/gflags.h>

#include <charconv>
#include <chrono>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "launch/commands/commands.h"
#include "launch/commands/flags.h"
#include "worker/data/synth.h"

DEFINE_string(out, "", "FOLDER: where the files go");
DEFINE_uint64(rows, 500000, "N: rows to train on");
DEFINE_uint64(valid_rows, 30000, "N: rows to validate on");
DEFINE_uint64(test_rows, 50000, "N: rows to test on");
DEFINE_uint64(seed, 2026, "N: everything random follows from it");
DEFINE_string(vocab, "200",
              "SIZES: values of C1, ..., C26, with commas; one number: Criteo's sizes, capped");
DEFINE_double(zipf, 1.1, "S: exponent of the values' frequencies; 0: all alike");
DEFINE_double(auc, 0.8, "X: AUC of a perfect model, about");
DEFINE_double(click_rate, 0.25, "X: share of clicks, about");
DEFINE_uint32(history, 0, "N: adds a column of up to N earlier items; 0: none");
DEFINE_uint32(shards, 1, "N: files that the training rows are spread over");
DEFINE_bool(gzip, false, "pack the files");

namespace cairn::launch {
namespace {

constexpr std::string_view kFlags[] = {"out",  "rows", "valid_rows", "test_rows", "seed",   "vocab",
                                       "zipf", "auc",  "click_rate", "history",   "shards", "gzip"};
constexpr Usage kUsage = {
    .command = "cairn data",
    .examples =
        "  cairn data synth --out=runs/synth\n"
        "  cairn data synth --out=big --rows=50000000 --vocab=1000000 --shards=16 --gzip\n",
    .summary =
        "synth: writes click data shaped like Criteo's, whose true probabilities are known:\n"
        "       train.csv (train-00000.csv, ... with --shards), valid.csv, test.csv, and "
        "truth.txt\n"
        "       with the AUC and log loss of a perfect model. Equal flags give equal files; files\n"
        "       that are there already stay. docs/data.md describes the truth.\n",
    .arguments = "synth",
    .flags = kFlags,
};

// "1000" or "26 sizes, with commas".
Result<std::vector<std::uint32_t>> ParseVocabularies(std::string_view text) {
  std::vector<std::uint32_t> sizes;
  for (std::string_view rest = text;;) {
    const std::string_view word = rest.substr(0, rest.find(','));
    std::uint32_t size = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), size);
    if (error != std::errc() || end != word.data() + word.size() || size == 0)
      return absl::InvalidArgumentError(
          StrCat("--vocab=", text, ": \"", word, "\" is no size of a vocabulary"));
    sizes.push_back(size);
    if (word.size() == rest.size()) break;
    rest.remove_prefix(word.size() + 1);
  }
  if (sizes.size() == 1) return worker::CriteoVocabularies(sizes[0]);
  if (sizes.size() == worker::kSynthCategories) return sizes;
  return absl::InvalidArgumentError(
      StrCat("--vocab takes one size or ", worker::kSynthCategories, ", got ", sizes.size()));
}

Result<worker::SynthConfig> ConfigFromFlags() {
  worker::SynthConfig config;
  ASSIGN_OR_RETURN(config.truth.vocabularies, ParseVocabularies(FLAGS_vocab));
  config.truth.seed = FLAGS_seed;
  config.truth.zipf = FLAGS_zipf;
  config.truth.auc = FLAGS_auc;
  config.truth.click_rate = FLAGS_click_rate;
  config.truth.history = FLAGS_history;
  config.rows = FLAGS_rows;
  config.valid_rows = FLAGS_valid_rows;
  config.test_rows = FLAGS_test_rows;
  config.shards = FLAGS_shards;
  config.gzip = FLAGS_gzip;
  config.out = FLAGS_out;
  return config;
}

int Synth() {
  const Result<worker::SynthConfig> config = ConfigFromFlags();
  if (!config.ok()) return ReportError(config.status());
  const auto start = std::chrono::steady_clock::now();
  const Result<worker::SynthReport> report = worker::WriteSynth(*config);
  if (!report.ok()) return ReportError(report.status());
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  const std::uint64_t rows = config->rows + config->valid_rows + config->test_rows;
  if (!report->written) std::cerr << config->out << " holds this data already\n";
  std::string line = StrCat("RESULT rows=", rows);
  for (const char* name : {"bayes_auc", "bayes_logloss"}) {
    const Result<double> value = worker::TruthValue(report->truth, name);
    if (value.ok()) StrAppend(line, " ", name, "=", *value);
  }
  if (report->written)
    StrAppend(line, " rows_per_s=",
              static_cast<std::uint64_t>(static_cast<double>(rows) / elapsed.count()));
  std::cout << line << " out=" << config->out << "\n";
  return 0;
}

}  // namespace

int RunData(int argc, char** argv) {
  if (const std::optional<int> code = ParseFlags(kUsage, &argc, &argv)) return *code;
  if (argc != 2 || std::string_view(argv[1]) != "synth")
    return UsageError(kUsage, "say what to do: synth");
  if (FLAGS_out.empty()) return UsageError(kUsage, "--out=FOLDER is missing");
  return Synth();
}

}  // namespace cairn::launch
