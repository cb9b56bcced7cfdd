#include "worker/features/field_specs.h"

#include <glog/logging.h>

#include <algorithm>
#include <optional>

#include "common/base/str_cat.h"
#include "proto/config.pb.h"

namespace cairn::worker {
namespace {

using proto::FeatureConfig;

std::uint32_t NumericDim(const proto::JobConfig& job) {
  std::vector<bool> is_linear(static_cast<std::size_t>(job.table_size()), false);
  for (const FeatureConfig& feature : job.feature())
    if (feature.role() == FeatureConfig::LINEAR && !IsNumeric(feature))
      is_linear[TableIndex(job, feature.table())] = true;
  std::optional<std::uint32_t> dim;
  for (int t = 0; t < job.table_size(); ++t) {
    if (is_linear[static_cast<std::size_t>(t)]) continue;
    if (dim && *dim != job.table(t).dim()) return job.table_defaults().dim();
    dim = job.table(t).dim();
  }
  return dim.value_or(job.table_defaults().dim());
}

FieldSpec::Pooling PoolingOf(const proto::SequenceConfig& sequence) {
  switch (sequence.pooling()) {
    case proto::SequenceConfig::MEAN:
      return FieldSpec::Pooling::kMean;
    case proto::SequenceConfig::SUM:
      return FieldSpec::Pooling::kSum;
    case proto::SequenceConfig::HISTORY:
      return FieldSpec::Pooling::kHistory;
  }
  LOG(FATAL) << "unknown pooling " << sequence.pooling();
}

int FeatureIndex(const proto::JobConfig& job, const std::string& name) {
  for (int f = 0; f < job.feature_size(); ++f)
    if (job.feature(f).name() == name) return f;
  LOG(FATAL) << "feature '" << name << "' is not in the job: it is not an effective one";
}

void FillSequence(const proto::JobConfig& job, const proto::SequenceConfig& sequence,
                  FieldSpec* spec) {
  spec->kind = FieldSpec::Kind::kSequence;
  spec->pooling = PoolingOf(sequence);
  if (!spec->IsHistory()) return;
  spec->max_length = sequence.max_length();
  CHECK_GE(spec->max_length, 1u) << "history " << spec->name;
  if (!sequence.target().empty()) spec->target = FeatureIndex(job, sequence.target());
}

}  // namespace

bool IsNumeric(const FeatureConfig& feature) {
  return feature.type() == FeatureConfig::NUMERIC && feature.numeric().bucket_width() == 0;
}

std::size_t TableIndex(const proto::JobConfig& effective, std::string_view table) {
  for (int t = 0; t < effective.table_size(); ++t)
    if (effective.table(t).name() == table) return static_cast<std::size_t>(t);
  LOG(FATAL) << "table '" << table << "' is not listed in the job: it is not an effective one";
}

std::vector<FieldSpec> FieldSpecs(const proto::JobConfig& effective) {
  const std::uint32_t numeric_dim = NumericDim(effective);
  std::vector<FieldSpec> specs;
  for (const FeatureConfig& feature : effective.feature()) {
    FieldSpec spec;
    spec.name = feature.name();
    spec.field = static_cast<int>(specs.size());
    spec.linear = feature.role() == FeatureConfig::LINEAR;
    spec.numeric_stddev = feature.numeric().vector_stddev();
    if (feature.has_density()) spec.density = feature.density();
    if (IsNumeric(feature)) {
      spec.kind = FieldSpec::Kind::kNumeric;
      spec.dim = spec.linear ? 1 : numeric_dim;
    } else {
      spec.table = static_cast<int>(TableIndex(effective, feature.table()));
      spec.dim = effective.table(spec.table).dim();
    }
    if (feature.type() == FeatureConfig::SEQUENCE)
      FillSequence(effective, feature.sequence(), &spec);
    specs.push_back(std::move(spec));
  }
  return specs;
}

std::vector<InputColumn> InputColumns(const proto::JobConfig& effective) {
  std::vector<InputColumn> inputs;
  for (const FeatureConfig& feature : effective.feature()) {
    const bool is_cross = feature.type() == FeatureConfig::CROSS;
    const std::string& column = feature.column().empty() ? feature.name() : feature.column();
    inputs.push_back({is_cross ? "" : column, StrCat("feature \"", feature.name(), "\"")});
  }
  for (const FeatureConfig& feature : effective.feature())
    if (!feature.numeric().until().empty())
      inputs.push_back(
          {feature.numeric().until(), StrCat("numeric.until of feature \"", feature.name(), "\"")});
  return inputs;
}

}  // namespace cairn::worker
