#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <utility>

#include "common/io/checksum.h"
#include "common/io/file.h"
#include "google/protobuf/text_format.h"
#include "launch/coordinator/checkpoint_names.h"
#include "launch/coordinator/checkpoints.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"

namespace cairn::launch {
namespace {

// Collects problems, with file names relative to the path that the user gave.
class Report {
 public:
  explicit Report(std::string prefix) : prefix_(std::move(prefix)) {}

  template <typename... Pieces>
  void Add(std::string_view file, const Pieces&... pieces) {
    problems_.push_back({JoinPath(prefix_, file), StrCat(pieces...)});
  }
  void SetPrefix(std::string prefix) { prefix_ = std::move(prefix); }
  std::vector<CheckpointProblem> Take() { return std::move(problems_); }

 private:
  std::string prefix_;
  std::vector<CheckpointProblem> problems_;
};

// True if `file` is there, regular and of the right size and content.
bool VerifyFile(const std::string& checkpoint, const proto::FileEntry& file, Report& report) {
  const std::string path = JoinPath(checkpoint, file.path());
  std::error_code error;
  const auto type = std::filesystem::symlink_status(path, error).type();
  if (type == std::filesystem::file_type::not_found) {
    report.Add(file.path(), "missing");
    return false;
  }
  if (type != std::filesystem::file_type::regular) {
    report.Add(file.path(), "is not a regular file");
    return false;
  }
  const Result<std::uint64_t> bytes = FileSize(path);
  if (bytes.ok() && *bytes != file.bytes()) {
    report.Add(file.path(), "has ", *bytes, " bytes, the manifest says ", file.bytes());
    return false;
  }
  const Result<std::string> checksum = bytes.ok() ? ChecksumOfFile(path) : bytes.status();
  if (!checksum.ok()) {
    report.Add(file.path(), checksum.status().message());
    return false;
  }
  if (*checksum != file.xxh3()) {
    report.Add(file.path(), "content is altered (checksum ", *checksum, ", the manifest says ",
               file.xxh3(), ")");
    return false;
  }
  return true;
}

void VerifyFiles(const std::string& checkpoint, const proto::CheckpointManifest& manifest,
                 Report& report) {
  std::set<std::string> listed = {std::string(kManifestFile)};
  bool needs_vocabulary = false;
  for (const proto::FileEntry& file : manifest.file()) {
    listed.insert(file.path());
    if (VerifyFile(checkpoint, file, report) && file.path() == kJobFile) {
      proto::JobConfig job;
      const Status status = ReadCheckpointJob(checkpoint, &job);
      if (!status.ok()) report.Add(kJobFile, status.message());
      needs_vocabulary = std::any_of(job.feature().begin(), job.feature().end(),
                                     [](const auto& f) { return f.min_count() > 1; });
    }
  }
  if (listed.count(std::string(kJobFile)) == 0) report.Add(kJobFile, "not in the manifest");
  if (needs_vocabulary && listed.count(std::string(kVocabularyFile)) == 0) {
    report.Add(kVocabularyFile, "not in the manifest, but a feature has a min_count");
  }
  const auto found = ListFolder(checkpoint, ListMode::kAllFiles);
  if (!found.ok()) return report.Add(".", found.status().message());
  for (const std::string& path : *found) {
    if (listed.count(path) == 0) report.Add(path, "extra: not in the manifest");
  }
}

// The shards' row counts add up to the tables'; slots are ReadManifest's business.
void VerifyShards(const proto::CheckpointManifest& manifest, Report& report) {
  std::set<std::string> folders;
  std::vector<std::uint64_t> rows(manifest.table_size(), 0);
  for (const proto::ShardEntry& shard : manifest.shard()) {
    if (!folders.insert(shard.folder()).second) {
      report.Add(kManifestFile, "shard ", shard.ps(), " has the folder '", shard.folder(),
                 "' of another one");
    }
    for (int t = 0; t < shard.rows_size(); ++t) rows[t] += shard.rows(t);
  }
  for (int t = 0; t < manifest.table_size(); ++t) {
    if (rows[t] != manifest.table(t).rows()) {
      report.Add(kManifestFile, "table ", manifest.table(t).name(), " has ",
                 manifest.table(t).rows(), " rows, its shards have ", rows[t]);
    }
  }
}

void VerifyState(const proto::CheckpointManifest& manifest, Report& report) {
  if (!manifest.has_state()) return report.Add(kManifestFile, "has no training state");
  const proto::TrainState& state = manifest.state();
  const double scale = state.learning_rate_scale();
  if (!(scale >= 0 && scale <= 1)) {
    report.Add(kManifestFile, "learning_rate_scale ", scale, " is not in [0, 1]");
  }
  for (int i = 0; i < state.history_size(); ++i) {
    if (state.history(i).epoch() != static_cast<std::uint64_t>(i)) {
      report.Add(kManifestFile, "history entry ", i, " is of epoch ", state.history(i).epoch());
    }
  }
  if (state.epoch() != static_cast<std::uint64_t>(state.history_size())) {
    report.Add(kManifestFile, "epoch ", state.epoch(), " is in progress, but ",
               state.history_size(), " epochs are recorded");
  }
  if (!std::isfinite(state.epoch_loss_sum()) || !std::isfinite(state.best_value())) {
    report.Add(kManifestFile, "the training state holds a value that is not finite");
  }
}

void VerifyOne(const std::string& checkpoint, Report& report) {
  proto::CheckpointManifest manifest;
  const Status status = ReadManifest(checkpoint, &manifest);
  if (!status.ok()) return report.Add(kManifestFile, status.message());
  VerifyFiles(checkpoint, manifest, report);
  VerifyShards(manifest, report);
  VerifyState(manifest, report);
}

void VerifyPointer(const std::string& folder, std::string_view pointer, Report& report) {
  const Result<std::string> name = ReadPointer(folder, pointer);
  if (absl::IsNotFound(name.status())) return;
  if (!name.ok()) {
    report.Add(pointer, name.status().message());
  } else if (!IsFolder(JoinPath(folder, *name))) {
    report.Add(pointer, "names ", *name, ", which is missing");
  }
}

}  // namespace

Result<std::vector<CheckpointProblem>> VerifyCheckpoint(const std::string& path) {
  if (!PathExists(path)) return absl::NotFoundError(StrCat("there is nothing at ", path));
  Report report("");
  if (IsCheckpointFolder(path)) {
    VerifyOne(path, report);
    return report.Take();
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> all, ListCheckpoints(path));
  if (all.empty()) return absl::NotFoundError(StrCat("no checkpoint in ", path));
  const std::string folder = FolderOf(all.front());
  const std::string prefix = folder == path ? "" : std::string(kCheckpointsFolder);
  report.SetPrefix(prefix);
  VerifyPointer(folder, kLatestFile, report);
  VerifyPointer(folder, kBestFile, report);
  for (const std::string& checkpoint : all) {
    report.SetPrefix(JoinPath(prefix, NameOfPath(checkpoint)));
    VerifyOne(checkpoint, report);
  }
  return report.Take();
}

Status RequireSound(const std::string& checkpoint) {
  ASSIGN_OR_RETURN(const std::vector<CheckpointProblem> problems, VerifyCheckpoint(checkpoint));
  if (problems.empty()) return OkStatus();
  std::string message = StrCat("damaged checkpoint: ", JoinPath(checkpoint, problems[0].file), ": ",
                               problems[0].what);
  if (problems.size() > 1) StrAppend(message, " (and ", problems.size() - 1, " more problems)");
  ASSIGN_OR_RETURN(std::vector<std::string> others, ListCheckpoints(FolderOf(checkpoint)));
  for (auto other = others.rbegin(); other != others.rend(); ++other) {
    if (NameOfPath(*other) == NameOfPath(checkpoint)) continue;
    const auto found = VerifyCheckpoint(*other);
    if (!found.ok() || !found->empty()) continue;
    StrAppend(message, "; intact: ", *other, "; to go on from the newest intact one, delete ",
              checkpoint, " and ", JoinPath(FolderOf(checkpoint), kLatestFile));
    return absl::DataLossError(message);
  }
  return absl::DataLossError(StrCat(message, "; there is no intact checkpoint beside it"));
}

}  // namespace cairn::launch
