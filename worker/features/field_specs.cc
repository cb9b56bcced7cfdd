#include "worker/features/field_specs.h"

#include <glog/logging.h>

#include "proto/config.pb.h"

namespace cairn::worker {
namespace {

std::uint32_t NumericDim(const proto::JobConfig& job) {
  if (job.table_size() == 0) return job.table_defaults().dim();
  for (const proto::TableConfig& table : job.table())
    if (table.dim() != job.table(0).dim()) return job.table_defaults().dim();
  return job.table(0).dim();
}

}  // namespace

bool IsNumeric(const proto::FeatureConfig& feature) {
  return feature.type() == proto::FeatureConfig::NUMERIC && feature.numeric().bucket_width() == 0;
}

std::size_t TableIndex(const proto::JobConfig& effective, std::string_view table) {
  for (int t = 0; t < effective.table_size(); ++t)
    if (effective.table(t).name() == table) return static_cast<std::size_t>(t);
  LOG(FATAL) << "table '" << table << "' is not listed in the job: it is not an effective one";
}

std::vector<FieldSpec> FieldSpecs(const proto::JobConfig& effective) {
  std::vector<FieldSpec> specs;
  for (const proto::FeatureConfig& feature : effective.feature()) {
    FieldSpec spec;
    spec.name = feature.name();
    if (IsNumeric(feature)) {
      spec.kind = FieldSpec::Kind::kNumeric;
      spec.dim = NumericDim(effective);
    } else {
      const std::size_t table = TableIndex(effective, feature.table());
      spec.table = static_cast<int>(table);
      spec.dim = effective.table(spec.table).dim();
    }
    if (feature.type() == proto::FeatureConfig::SEQUENCE) {
      spec.kind = FieldSpec::Kind::kSequence;
      spec.pooling = feature.sequence().pooling() == proto::SequenceConfig::SUM
                         ? FieldSpec::Pooling::kSum
                         : FieldSpec::Pooling::kMean;
    }
    specs.push_back(std::move(spec));
  }
  return specs;
}

}  // namespace cairn::worker
