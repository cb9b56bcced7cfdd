#include "launch/coordinator/checkpoint_writer.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>
#include <vector>

#include "common/io/checksum.h"
#include "common/io/file.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/message_differencer.h"
#include "launch/coordinator/checkpoint_names.h"
#include "launch/coordinator/checkpoints.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "proto/ps_service.pb.h"
#include "ps/optim/optimizers.h"
#include "ps/table/storage.h"

namespace cairn::launch {
namespace {

std::string Print(const google::protobuf::Message& message) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(message, &text);
  return text;
}

std::string Padded(std::string_view prefix, int width, std::uint64_t number) {
  std::string digits = StrCat(number);
  const std::size_t missing = width - std::min<std::size_t>(width, digits.size());
  return StrCat(prefix, std::string(missing, '0'), digits);
}

template <typename Repeated>
bool SameList(const Repeated& a, const Repeated& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return google::protobuf::util::MessageDifferencer::Equals(x, y);
  });
}

// Tables in the order of their ids, without rows yet.
Status AddTables(const proto::JobConfig& job, proto::CheckpointManifest* manifest) {
  for (const proto::TableConfig& table : job.table()) {
    ASSIGN_OR_RETURN(const auto optimizer, ps::MakeOptimizer(table.optimizer()), "table ",
                     table.name());
    proto::TableEntry& entry = *manifest->add_table();
    entry.set_name(table.name());
    entry.set_dim(table.dim());
    entry.set_optimizer(std::string(optimizer->name()));
    entry.set_state_floats(static_cast<std::uint32_t>(optimizer->StateSize(table.dim())));
    ps::SetStorage(ps::StorageOf(table), &entry);
    entry.set_rows(0);
  }
  return OkStatus();
}

}  // namespace

CheckpointWriter::CheckpointWriter(std::string checkpoints_folder, std::string name)
    : checkpoints_folder_(std::move(checkpoints_folder)),
      name_(std::move(name)),
      temporary_(JoinPath(checkpoints_folder_, StrCat(kTemporaryPrefix, name_))) {}

Result<CheckpointWriter> CheckpointWriter::Begin(const std::string& checkpoints_folder,
                                                 const std::string& name) {
  CheckpointWriter writer(checkpoints_folder, name);
  if (PathExists(JoinPath(checkpoints_folder, name))) {
    return absl::AlreadyExistsError(
        StrCat(JoinPath(checkpoints_folder, name), " is there already"));
  }
  RETURN_IF_ERROR(RemoveTree(writer.temporary_));
  RETURN_IF_ERROR(MakeFolders(writer.temporary_));
  return writer;
}

std::string CheckpointWriter::ShardFolder(std::uint32_t ps) const {
  return JoinPath(temporary_, ShardFolderName(ps));
}

Status CheckpointWriter::AddShard(std::uint32_t ps, const proto::SnapshotReply& reply,
                                  proto::CheckpointManifest* manifest) const {
  const std::string folder = ShardFolderName(ps);
  proto::ShardEntry& shard = *manifest->add_shard();
  shard = reply.shard();
  shard.set_ps(ps);
  shard.set_folder(folder);
  if (shard.rows_size() != manifest->table_size()) {
    return absl::FailedPreconditionError(StrCat("ps ", ps, " counts the rows of ",
                                                shard.rows_size(), " tables, the job has ",
                                                manifest->table_size()));
  }
  for (int t = 0; t < shard.rows_size(); ++t) {
    proto::TableEntry& table = *manifest->mutable_table(t);
    table.set_rows(table.rows() + shard.rows(t));
  }
  for (const proto::FileEntry& file : reply.file()) {
    RETURN_IF_ERROR(CheckRelativePath(file.path()), "file list of ps ", ps);
    proto::FileEntry& entry = *manifest->add_file();
    entry = file;
    entry.set_path(JoinPath(folder, file.path()));
  }
  return OkStatus();
}

Status CheckpointWriter::AddFile(std::string_view name, const std::string& source,
                                 const std::string& xxh3) {
  ASSIGN_OR_RETURN(const std::string found, ChecksumOfFile(source));
  if (found != xxh3) {
    return absl::DataLossError(
        StrCat(source, " was altered: its checksum is ", found, ", it was ", xxh3));
  }
  added_.emplace_back(name, xxh3);
  return HardLinkOrCopy(source, JoinPath(temporary_, name));
}

Status CheckpointWriter::Seal(const proto::JobConfig& job, const proto::TrainState& state,
                              std::span<const proto::SnapshotReply> shards,
                              std::int64_t created_unix_s, std::string_view program) {
  proto::CheckpointManifest manifest;
  manifest.set_format_version(ps::kCheckpointFormatVersion);
  manifest.set_job_name(job.name());
  manifest.set_seed(job.seed());
  manifest.set_created_unix_s(created_unix_s);
  manifest.set_writer(std::string(program));
  *manifest.mutable_state() = state;

  RETURN_IF_ERROR(AddTables(job, &manifest));

  const std::string job_text = Print(job);
  const std::string job_path = JoinPath(temporary_, kJobFile);
  RETURN_IF_ERROR(WriteFileAtomically(job_path, job_text));
  proto::FileEntry& job_entry = *manifest.add_file();
  job_entry.set_path(std::string(kJobFile));
  job_entry.set_bytes(job_text.size());
  job_entry.set_xxh3(ChecksumOfBytes(job_text));

  for (const auto& [name, xxh3] : added_) {
    ASSIGN_OR_RETURN(const std::uint64_t bytes, FileSize(JoinPath(temporary_, name)));
    proto::FileEntry& entry = *manifest.add_file();
    entry.set_path(name);
    entry.set_bytes(bytes);
    entry.set_xxh3(xxh3);
  }

  for (std::size_t ps = 0; ps < shards.size(); ++ps) {
    const proto::SnapshotReply& reply = shards[ps];
    if (!SameList(reply.dense(), shards[0].dense())) {
      return absl::FailedPreconditionError(
          StrCat("ps ", ps, " and ps 0 disagree on the dense tensors"));
    }
    if (ps == 0) *manifest.mutable_dense() = reply.dense();
    RETURN_IF_ERROR(AddShard(static_cast<std::uint32_t>(ps), reply, &manifest));
    RETURN_IF_ERROR(SyncFolder(ShardFolder(static_cast<std::uint32_t>(ps))));
  }
  RETURN_IF_ERROR(
      WriteFileAtomically(JoinPath(temporary_, kManifestFile), SealText(Print(manifest))));
  return SyncFolder(temporary_);
}

Status CheckpointWriter::Publish() {
  const std::string target = JoinPath(checkpoints_folder_, name_);
  if (std::rename(temporary_.c_str(), target.c_str()) != 0) {
    return ErrnoStatus("rename the new checkpoint to", target, errno);
  }
  return SyncFolder(checkpoints_folder_);
}

std::string NewCheckpointName(const std::string& checkpoints_folder, std::uint64_t steps,
                              std::string_view suffix) {
  const std::string base = StrCat(Padded("step-", 12, steps), suffix);
  std::string name = base;
  for (int i = 2; PathExists(JoinPath(checkpoints_folder, name)); ++i) {
    name = Padded(StrCat(base, "-"), 3, i);
  }
  return name;
}

std::string ShardFolderName(std::uint32_t ps) { return Padded("ps-", 4, ps); }

Status MovePointer(const std::string& checkpoints_folder, std::string_view pointer,
                   std::string_view name) {
  return WriteFileAtomically(JoinPath(checkpoints_folder, pointer), PointerText(name));
}

Status PruneCheckpoints(const std::string& checkpoints_folder, std::uint32_t keep,
                        std::string_view also_keep) {
  std::vector<std::string> needed = {std::string(also_keep)};
  for (const std::string_view pointer : {kLatestFile, kBestFile}) {
    Result<std::string> name = ReadPointer(checkpoints_folder, pointer);
    if (absl::IsNotFound(name.status())) continue;
    RETURN_IF_ERROR(name.status());
    needed.push_back(*std::move(name));
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> all, ListCheckpoints(checkpoints_folder));
  for (std::size_t i = 0; i + keep < all.size(); ++i) {
    if (std::find(needed.begin(), needed.end(), NameOfPath(all[i])) != needed.end()) continue;
    // Invisible first: a half-removed folder must not look like a checkpoint.
    const std::string doomed =
        JoinPath(checkpoints_folder, StrCat(kTemporaryPrefix, NameOfPath(all[i])));
    RETURN_IF_ERROR(RemoveTree(doomed));
    if (std::rename(all[i].c_str(), doomed.c_str()) != 0) {
      return ErrnoStatus("remove", all[i], errno);
    }
    RETURN_IF_ERROR(RemoveTree(doomed));
  }
  return OkStatus();
}

Status RemoveLeftovers(const std::string& checkpoints_folder) {
  if (!PathExists(checkpoints_folder)) return OkStatus();
  ASSIGN_OR_RETURN(const std::vector<std::string> names,
                   ListFolder(checkpoints_folder, ListMode::kEntries));
  for (const std::string& name : names) {
    if (name.starts_with(kTemporaryPrefix) || name.starts_with(StrCat(kLatestFile, ".tmp.")) ||
        name.starts_with(StrCat(kBestFile, ".tmp."))) {
      RETURN_IF_ERROR(RemoveTree(JoinPath(checkpoints_folder, name)));
    }
  }
  return OkStatus();
}

}  // namespace cairn::launch
