#include "common/config/effective_job.h"

#include <google/protobuf/descriptor.h>

#include <map>

#include "common/config/effective_parts.h"
#include "common/config/field_text.h"
#include "common/io/file.h"
#include "proto/config.pb.h"

namespace cairn {
namespace {

using proto::JobConfig;
using proto::TableConfig;

void CheckName(const OriginTree& origins, const JobConfig& job, ProblemList* problems) {
  const bool is_one_component = job.name().find('/') == std::string::npos;
  if (is_one_component && CheckRelativePath(job.name()).ok()) return;
  problems->Add(
      origins.At(JobConfig::kNameFieldNumber).origin,
      StrCat("the name is used as a folder's name, which \"", job.name(), "\" cannot be"));
}

void CheckModelKind(const OriginTree& origins, const JobConfig& job, ProblemList* problems) {
  const OriginTree& node = origins.At(JobConfig::kModelFieldNumber);
  if (!job.has_model() || node.damaged) return;
  if (job.model().kind_case() != proto::ModelConfig::KIND_NOT_SET) return;
  problems->Add(node.origin, StrCat("model must name one of ",
                                    JoinNames(FieldNames(*proto::ModelConfig::descriptor()))));
}

// Where the width of a table was said: its own entry, table_defaults, or nowhere (the model).
Origin OriginOfDim(const OriginTree& origins, const JobConfig& written, const std::string& table) {
  for (int i = 0; i < written.table_size(); ++i) {
    if (written.table(i).name() == table && written.table(i).has_dim()) {
      return origins.At(JobConfig::kTableFieldNumber, i).At(TableConfig::kDimFieldNumber).origin;
    }
  }
  const int where = written.table_defaults().has_dim() ? JobConfig::kTableDefaultsFieldNumber
                                                       : JobConfig::kModelFieldNumber;
  return origins.At(where).At(TableConfig::kDimFieldNumber).origin;
}

// Embeddings of the widths that the model can take: 1 for lr, all the same for dlf. A plain
// number's vector has the width of table_defaults.
void CheckWidths(const OriginTree& origins, const JobConfig& written, const JobConfig& job,
                 ProblemList* problems) {
  const auto kind = job.model().kind_case();
  const bool is_certain = !origins.At(JobConfig::kModelFieldNumber).damaged;
  if (kind == proto::ModelConfig::KIND_NOT_SET || !is_certain) return;
  std::uint32_t wanted = kind == proto::ModelConfig::kLr ? 1 : 0;
  const auto check = [&](const std::string& what, const std::string& table, std::uint32_t dim) {
    if (wanted == 0) wanted = dim;
    if (dim == wanted) return true;
    const std::string need = kind == proto::ModelConfig::kLr
                                 ? "model lr needs dim 1: set table_defaults { dim: 1 }"
                                 : StrCat("the model needs the same dim everywhere, and ",
                                          job.feature(0).name(), " has dim ", wanted);
    problems->Add(OriginOfDim(origins, written, table), StrCat(what, " has dim ", dim, "; ", need));
    return false;
  };
  std::map<std::string, std::uint32_t> dims;
  for (const TableConfig& table : job.table()) dims[table.name()] = table.dim();
  const std::uint32_t numeric_dim = job.table_defaults().dim();
  for (const proto::FeatureConfig& feature : job.feature()) {
    if (feature.role() == proto::FeatureConfig::LINEAR) continue;
    const bool fits =
        feature.has_table()
            ? check(StrCat("table \"", feature.table(), "\""), feature.table(),
                    dims[feature.table()])
            : check(StrCat("numeric feature \"", feature.name(), "\""), "", numeric_dim);
    if (!fits) return;
  }
}

// Where a setting of a table was said, one that `has` finds in a table's message: in its own entry,
// or in the defaults that it takes.
template <typename Has>
const OriginTree& NodeOfTable(const OriginTree& origins, const JobConfig& written,
                              const JobConfig& job, const std::string& table, Has has) {
  for (int i = 0; i < written.table_size(); ++i) {
    if (written.table(i).name() == table && has(written.table(i))) {
      return origins.At(JobConfig::kTableFieldNumber, i);
    }
  }
  for (const proto::FeatureConfig& feature : job.feature()) {
    const bool is_linear = feature.role() == proto::FeatureConfig::LINEAR;
    if (is_linear && feature.table() == table && has(written.linear_defaults())) {
      return origins.At(JobConfig::kLinearDefaultsFieldNumber);
    }
  }
  return origins.At(JobConfig::kTableDefaultsFieldNumber);
}

// With less, what a server needs beside its rows is most of it.
constexpr std::uint64_t kLeastMemoryMib = 64;

// Rows of a table that steps as a whole cannot leave memory.
void CheckMemory(const OriginTree& origins, const JobConfig& written, const JobConfig& job,
                 ProblemList* problems) {
  const std::uint64_t memory_mib = job.server().memory_mib();
  if (memory_mib == 0) return;
  if (memory_mib < kLeastMemoryMib) {
    problems->Add(origins.At(JobConfig::kServerFieldNumber)
                      .At(proto::ServerConfig::kMemoryMibFieldNumber)
                      .origin,
                  StrCat("server.memory_mib is ", memory_mib, "; a server needs at least ",
                         kLeastMemoryMib, " MiB, and with 0 it keeps all rows in memory"));
  }
  for (const TableConfig& table : job.table()) {
    if (table.l2_rows() != TableConfig::ALL) continue;
    const OriginTree& node =
        NodeOfTable(origins, written, job, table.name(),
                    [](const TableConfig& said) { return said.has_l2_rows(); });
    problems->Add(node.At(TableConfig::kL2RowsFieldNumber).origin,
                  StrCat("table \"", table.name(), "\" has l2_rows ALL, which changes every row ",
                         "with every push, and server.memory_mib ", memory_mib,
                         ", which sends rows to the database: take one of them back"));
    return;  // table_defaults would say it for each table
  }
}

bool Evicts(const proto::EvictionConfig& eviction) {
  return eviction.max_age_pushes() > 0 || eviction.min_count() > 0 || eviction.min_norm() > 0;
}

// What a deterministic job must not have, and the one value of prefetch_batches that it takes.
void CompleteDeterministic(const OriginTree& origins, const JobConfig& written, JobConfig* job,
                           ProblemList* problems) {
  if (!job->train().deterministic()) return;
  const OriginTree& train = origins.At(JobConfig::kTrainFieldNumber);
  if (job->train().prefetch_batches() > 0) {
    problems->Add(train.At(proto::TrainConfig::kPrefetchBatchesFieldNumber).origin,
                  StrCat("train.prefetch_batches must be 0 with train.deterministic, got ",
                         job->train().prefetch_batches()));
  }
  job->mutable_train()->set_prefetch_batches(0);
  if (job->train().threads() == 0) {
    problems->Add(train.At(proto::TrainConfig::kThreadsFieldNumber).origin,
                  "train.threads must be said with train.deterministic, such as 1: the order of "
                  "additions depends on it");
  }
  for (const TableConfig& table : job->table()) {
    if (Evicts(table.eviction())) {
      const OriginTree& node =
          NodeOfTable(origins, written, *job, table.name(),
                      [](const TableConfig& said) { return Evicts(said.eviction()); });
      problems->Add(node.At(TableConfig::kEvictionFieldNumber).origin,
                    StrCat("table \"", table.name(), "\" has eviction, which removes rows at ",
                           "times that differ from run to run, and train.deterministic is set"));
      return;  // table_defaults would say it for each table
    }
    if (table.admission().min_pushes() > 1) {
      const OriginTree& node =
          NodeOfTable(origins, written, *job, table.name(),
                      [](const TableConfig& said) { return said.admission().min_pushes() > 1; });
      problems->Add(node.At(TableConfig::kAdmissionFieldNumber)
                        .At(proto::AdmissionConfig::kMinPushesFieldNumber)
                        .origin,
                    StrCat("table \"", table.name(), "\" has admission.min_pushes ",
                           table.admission().min_pushes(), ", counted by each server anew when it ",
                           "recovers, and train.deterministic is set"));
      return;
    }
  }
}

void CheckMonitor(const OriginTree& origins, const JobConfig& job, ProblemList* problems) {
  const auto monitor = job.train().monitor();
  const bool reads_groups =
      monitor == proto::TrainConfig::GAUC || monitor == proto::TrainConfig::GAUC_PLUS_AUC;
  const bool is_certain = !origins.At(JobConfig::kDataFieldNumber).damaged;
  if (!reads_groups || !job.data().group().empty() || !is_certain) return;
  problems->Add(
      origins.At(JobConfig::kTrainFieldNumber).At(proto::TrainConfig::kMonitorFieldNumber).origin,
      StrCat("train.monitor ", proto::TrainConfig::Monitor_Name(monitor),
             " needs data.group, the column of a row's user"));
}

}  // namespace

std::string DescribeOrigin(const Origin& origin) {
  return origin.override_index >= 0 ? "by an override" : StrCat("in line ", origin.line);
}

void MakeEffective(const OriginTree& origins, JobConfig* job, ProblemList* problems) {
  const JobConfig written = *job;
  CheckName(origins, *job, problems);
  CheckModelKind(origins, *job, problems);
  CompleteData(origins, job, problems);
  FeatureNodes nodes = CompleteFeatures(origins, job, problems);
  AddLinearFeatures(job, &nodes, problems);
  CompleteTables(origins, job, problems);
  CheckReferences(origins, nodes, *job, problems);
  CheckWidths(origins, written, *job, problems);
  CheckMemory(origins, written, *job, problems);
  CheckMonitor(origins, *job, problems);
  CompleteDeterministic(origins, written, job, problems);
  job->mutable_train();
  job->mutable_checkpoint();
  proto::OptimizerConfig* dense = job->mutable_dense()->mutable_optimizer();
  if (dense->kind_case() == proto::OptimizerConfig::KIND_NOT_SET) dense->mutable_adam();
}

}  // namespace cairn
