#include "worker/data/synth.h"

#include <zlib.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <vector>

#include "common/io/file.h"
#include "worker/data/synth_csv.h"
#include "worker/data/synth_stats.h"

namespace cairn::worker {
namespace {

constexpr std::size_t kFlushBytes = 1 << 20;
constexpr std::string_view kTruthFile = "truth.txt";
constexpr std::string_view kPartSuffix = ".part";

// A file that appears under its name only once it is whole.
class OutputFile {
 public:
  OutputFile(std::string path, bool gzip) : path_(std::move(path)) {
    // "T": zlib writes the bytes as they are. Its own buffer only costs then.
    file_ = gzopen((path_ + std::string(kPartSuffix)).c_str(), gzip ? "wb1" : "wbT");
    error_ = file_ == nullptr ? errno : 0;
  }
  ~OutputFile() {
    if (file_ != nullptr) gzclose(file_);
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  Status Write(std::string_view bytes) {
    if (file_ == nullptr) return ErrnoStatus("write", path_, error_);
    errno = 0;
    if (bytes.empty() || gzwrite(file_, bytes.data(), static_cast<unsigned>(bytes.size())) > 0)
      return OkStatus();
    return ErrnoStatus("write", path_, errno);
  }
  Status Close() {
    errno = 0;
    const int result = gzclose(file_);
    file_ = nullptr;
    if (result != Z_OK) return ErrnoStatus("write", path_, errno);
    if (std::rename((path_ + std::string(kPartSuffix)).c_str(), path_.c_str()) != 0)
      return ErrnoStatus("rename", path_, errno);
    return OkStatus();
  }

 private:
  const std::string path_;
  gzFile file_ = nullptr;
  int error_ = 0;
};

struct SplitResult {
  std::uint64_t clicks = 0;
  std::vector<double> logits;  // if asked for
};

// Writes rows [begin, end) of a split to one file, adding to `result`.
Status WriteRows(const SynthTruth& truth, SynthSplit split, std::uint64_t begin, std::uint64_t end,
                 bool has_history, bool keep_logits, OutputFile* file, SplitResult* result) {
  std::string buffer = SynthHeader(has_history);
  SynthRow row;
  for (std::uint64_t i = begin; i < end; ++i) {
    truth.Draw(split, i, &row);
    AppendSynthRow(row, has_history, &buffer);
    result->clicks += static_cast<std::uint64_t>(row.label);
    if (keep_logits) result->logits.push_back(row.logit);
    if (buffer.size() < kFlushBytes) continue;
    RETURN_IF_ERROR(file->Write(buffer));
    buffer.clear();
  }
  return file->Write(buffer);
}

std::string TrainName(const SynthConfig& config, std::uint32_t shard) {
  if (config.shards == 1) return "train.csv";
  std::string digits = StrCat(shard);
  return StrCat("train-", std::string(5 - digits.size(), '0'), digits, ".csv");
}

// The settings that the data follows from, as the head of truth.txt.
std::string Settings(const SynthConfig& config) {
  const SynthTruthConfig& truth = config.truth;
  std::string text =
      StrCat("# Made by `cairn data synth`; docs/data.md says how and what it means.\n",  //
             "seed: ", truth.seed, "\nrows: ", config.rows, "\nvalid_rows: ", config.valid_rows,
             "\ntest_rows: ", config.test_rows, "\nshards: ", config.shards,
             "\ngzip: ", config.gzip, "\nhistory: ", truth.history, "\nzipf: ", truth.zipf,
             "\nclick_rate: ", truth.click_rate, "\nauc: ", truth.auc, "\n");
  for (const std::uint32_t size : truth.vocabularies) StrAppend(text, "vocabulary: ", size, "\n");
  return text;
}

bool IsDataName(const std::string& name) {
  for (const char* stem : {"train", "valid", "test"})
    if (name.starts_with(stem) && (name.ends_with(".csv") || name.ends_with(".csv.gz")))
      return true;
  return name == kTruthFile;
}

// The truth of the data that is in the folder if it is the one asked for; "" if the folder holds
// none at all.
Result<std::string> ExistingTruth(const SynthConfig& config) {
  if (!PathExists(config.out)) return std::string();
  ASSIGN_OR_RETURN(const std::vector<std::string> names,
                   ListFolder(config.out, ListMode::kEntries));
  const std::string truth_path = JoinPath(config.out, kTruthFile);
  if (PathExists(truth_path)) {
    ASSIGN_OR_RETURN(std::string truth, ReadFile(truth_path));
    if (truth.starts_with(Settings(config))) return truth;
  }
  for (const std::string& name : names) {
    if (!IsDataName(name)) continue;
    return absl::AlreadyExistsError(
        StrCat(config.out, " holds other data (", name, "); remove it or choose another folder"));
  }
  return std::string();
}

Status CheckConfig(const SynthConfig& config) {
  if (config.rows == 0) return absl::InvalidArgumentError("rows is 0");
  if (config.out.empty()) return absl::InvalidArgumentError("the output folder has no name");
  if (config.shards == 0 || config.shards > 99999 || config.shards > config.rows)
    return absl::InvalidArgumentError(
        StrCat("shards is ", config.shards, ", not from 1 to 99999 and at most one a row"));
  return OkStatus();
}

void AppendTestTruth(const SplitResult& test, std::string* text) {
  StrAppend(*text, "bayes_auc: ", BayesAuc(test.logits),
            "\nbayes_logloss: ", BayesLogLoss(test.logits), "\n");
}

class Writer {
 public:
  Writer(const SynthConfig& config, const SynthTruth& truth) : config_(config), truth_(truth) {}

  Result<std::string> Run() {
    SplitResult train;
    for (std::uint32_t shard = 0; shard < config_.shards; ++shard)
      RETURN_IF_ERROR(Write(SynthSplit::kTrain, TrainName(config_, shard), Begin(shard),
                            Begin(shard + 1), &train));
    SplitResult valid;
    RETURN_IF_ERROR(Write(SynthSplit::kValid, "valid.csv", 0, config_.valid_rows, &valid));
    SplitResult test;
    RETURN_IF_ERROR(Write(SynthSplit::kTest, "test.csv", 0, config_.test_rows, &test));
    std::string text =
        StrCat(Settings(config_), "bias: ", truth_.bias(), "\nscale: ", truth_.scale(),
               "\ntrain_clicks: ", train.clicks, "\nvalid_clicks: ", valid.clicks,
               "\ntest_clicks: ", test.clicks, "\n");
    if (config_.test_rows > 0) AppendTestTruth(test, &text);
    RETURN_IF_ERROR(WriteFileAtomically(JoinPath(config_.out, kTruthFile), text));
    return text;
  }

 private:
  // First training row of a shard; rows are spread evenly.
  std::uint64_t Begin(std::uint32_t shard) const {
    const std::uint64_t each = config_.rows / config_.shards;
    const std::uint64_t longer = config_.rows % config_.shards;
    return shard * each + std::min<std::uint64_t>(shard, longer);
  }

  Status Write(SynthSplit split, const std::string& name, std::uint64_t begin, std::uint64_t end,
               SplitResult* result) {
    if (begin == end) return OkStatus();
    OutputFile file(JoinPath(config_.out, name + (config_.gzip ? ".gz" : "")), config_.gzip);
    RETURN_IF_ERROR(WriteRows(truth_, split, begin, end, config_.truth.history > 0,
                              split == SynthSplit::kTest, &file, result));
    return file.Close();
  }

  const SynthConfig& config_;
  const SynthTruth& truth_;
};

}  // namespace

Result<SynthReport> WriteSynth(const SynthConfig& config) {
  RETURN_IF_ERROR(CheckConfig(config));
  ASSIGN_OR_RETURN(const SynthTruth truth, SynthTruth::Make(config.truth));
  ASSIGN_OR_RETURN(std::string existing, ExistingTruth(config));
  if (!existing.empty()) return SynthReport{std::move(existing), false};
  RETURN_IF_ERROR(MakeFolders(config.out));
  ASSIGN_OR_RETURN(std::string text, Writer(config, truth).Run());
  return SynthReport{std::move(text), true};
}

Result<double> TruthValue(const std::string& truth, const std::string& name) {
  const std::string prefix = StrCat("\n", name, ": ");
  const std::size_t at = truth.find(prefix);
  if (at == std::string::npos)
    return absl::NotFoundError(StrCat("the truth has no line \"", name, ":\""));
  return std::strtod(truth.c_str() + at + prefix.size(), nullptr);
}

}  // namespace cairn::worker
