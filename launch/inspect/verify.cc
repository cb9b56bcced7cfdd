#include <algorithm>

#include "common/io/file.h"
#include "launch/coordinator/checkpoints.h"
#include "launch/inspect/inspect.h"
#include "launch/inspect/shard_scan.h"
#include "launch/inspect/sizes.h"
#include "launch/text/human.h"
#include "launch/text/json.h"
#include "launch/text/table.h"
#include "proto/checkpoint.pb.h"

namespace cairn::launch {
namespace {

// What was looked at.
struct Checked {
  std::uint64_t checkpoints = 0;
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
  std::uint64_t rows = 0;
  std::uint64_t dense_chunks = 0;
  std::uint64_t unscanned_shards = 0;  // their files are damaged; not opened
};

class Verifier {
 public:
  Verifier(std::string path, const ShardOpener& open_shard)
      : path_(std::move(path)), open_shard_(open_shard) {}

  Status Run() {
    ASSIGN_OR_RETURN(problems_, VerifyCheckpoint(path_));
    damaged_files_ = problems_;
    ASSIGN_OR_RETURN(const std::vector<std::string> all, Checkpoints());
    for (const std::string& checkpoint : all) ScanCheckpoint(checkpoint);
    return OkStatus();
  }

  const std::vector<CheckpointProblem>& problems() const { return problems_; }
  const Checked& checked() const { return checked_; }

 private:
  Result<std::vector<std::string>> Checkpoints() const {
    if (PathExists(JoinPath(path_, kManifestFile))) return std::vector<std::string>{path_};
    ASSIGN_OR_RETURN(std::vector<std::string> all, ListCheckpoints(path_));
    if (all.empty()) all.push_back(path_);  // a checkpoint without its manifest
    return all;
  }

  // Relative to the path that was asked for, as VerifyCheckpoint's are.
  std::string Relative(const std::string& checkpoint, const std::string& file) const {
    if (checkpoint == path_) return file;
    return JoinPath(checkpoint.substr(path_.size() + 1), file);
  }

  bool IsDamaged(const std::string& prefix) const {
    return std::any_of(
        damaged_files_.begin(), damaged_files_.end(),
        [&](const CheckpointProblem& problem) { return problem.file.starts_with(prefix); });
  }

  void ScanCheckpoint(const std::string& checkpoint) {
    ++checked_.checkpoints;
    proto::CheckpointManifest manifest;
    if (!ReadManifest(checkpoint, &manifest).ok()) return;  // VerifyCheckpoint told
    const FileTotals files = FilesBelow(manifest, "");
    checked_.files += files.count + 1;  // and the manifest
    checked_.bytes += files.bytes;
    if (IsDamaged(Relative(checkpoint, std::string(kManifestFile)))) return;  // contradicts itself
    if (const Status shape = CheckShape(manifest); !shape.ok()) {
      problems_.push_back(
          {Relative(checkpoint, std::string(kManifestFile)), std::string(shape.message())});
      return;
    }
    std::vector<ShardScan> scans;
    bool is_complete = true;
    for (int s = 0; s < manifest.shard_size(); ++s) {
      const std::string folder = Relative(checkpoint, manifest.shard(s).folder());
      if (IsDamaged(folder + "/")) {
        ++checked_.unscanned_shards;
        is_complete = false;
        continue;
      }
      scans.push_back(ScanShard(checkpoint, manifest, static_cast<std::size_t>(s), open_shard_));
      const ShardScan& scan = scans.back();
      checked_.rows += scan.rows;
      checked_.dense_chunks += scan.dense_chunks;
      for (const std::string& problem : scan.problems) problems_.push_back({folder, problem});
      is_complete = is_complete && scan.problems.empty();
    }
    if (!is_complete) return;
    for (const std::string& problem : CheckDenseElements(manifest, scans)) {
      problems_.push_back({Relative(checkpoint, std::string(kManifestFile)), problem});
    }
  }

  const std::string path_;
  const ShardOpener& open_shard_;
  std::vector<CheckpointProblem> damaged_files_;
  std::vector<CheckpointProblem> problems_;
  Checked checked_;
};

std::string VerdictText(const std::string& path, const Verifier& verifier) {
  const Checked& checked = verifier.checked();
  std::string text;
  for (const CheckpointProblem& problem : verifier.problems()) {
    StrAppend(text, "DAMAGED  ", JoinPath(path, problem.file), ": ", problem.what, "\n");
  }
  if (checked.unscanned_shards > 0) {
    StrAppend(text, "not scanned: rows of ", CountOf(checked.unscanned_shards, "server"),
              ", whose files are damaged\n");
  }
  StrAppend(text, "checked: manifest seals, sizes and XXH3-128 of ", CountOf(checked.files, "file"),
            " (", HumanBytes(checked.bytes), ") of ", CountOf(checked.checkpoints, "checkpoint"),
            ", RocksDB block checksums, ", CountOf(checked.rows, "row"), " and ",
            CountOf(checked.dense_chunks, "dense chunk"),
            " (place, count, no value that is not finite)\n");
  const std::size_t found = verifier.problems().size();
  if (found == 0) return StrCat(text, "sound: ", path, "\n");
  return StrCat(text, "damaged: ", path, ", ", CountOf(found, "problem"), "\n");
}

std::string VerdictJson(const std::string& path, const Verifier& verifier) {
  const Checked& checked = verifier.checked();
  JsonWriter json;
  json.BeginObject();
  json.Key("path").String(path);
  json.Key("sound").Bool(verifier.problems().empty());
  json.Key("problem").BeginArray();
  for (const CheckpointProblem& problem : verifier.problems()) {
    json.BeginObject().Inline();
    json.Key("file").String(problem.file);
    json.Key("what").String(problem.what);
    json.EndObject();
  }
  json.EndArray();
  json.Key("checkpoints").Uint(checked.checkpoints);
  json.Key("files").Uint(checked.files);
  json.Key("bytes").Uint(checked.bytes);
  json.Key("rows").Uint(checked.rows);
  json.Key("dense_chunks").Uint(checked.dense_chunks);
  json.Key("unscanned_shards").Uint(checked.unscanned_shards);
  json.EndObject();
  return json.Take();
}

std::string VerdictCsv(const Verifier& verifier) {
  Table table({{"file"}, {"what"}});
  for (const CheckpointProblem& problem : verifier.problems()) {
    table.AddRow({problem.file, problem.what});
  }
  return table.Csv();
}

}  // namespace

Status InspectVerify(const std::string& path, Format format, Output& out, std::ostream& messages,
                     const ShardOpener& open_shard) {
  std::string plain = path;
  while (plain.size() > 1 && plain.back() == '/') plain.pop_back();
  messages << "verifying " << plain << std::endl;
  Verifier verifier(plain, open_shard);
  RETURN_IF_ERROR(verifier.Run());
  switch (format) {
    case Format::kTable:
      out.Write(VerdictText(plain, verifier));
      break;
    case Format::kJson:
      out.Write(VerdictJson(plain, verifier));
      break;
    case Format::kCsv:
      out.Write(VerdictCsv(verifier));
      break;
  }
  RETURN_IF_ERROR(out.status());
  if (verifier.problems().empty()) return OkStatus();
  return absl::DataLossError(StrCat(plain, " is damaged: ", verifier.problems().front().file, ": ",
                                    verifier.problems().front().what));
}

}  // namespace cairn::launch
