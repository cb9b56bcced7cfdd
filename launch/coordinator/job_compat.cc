#include "launch/coordinator/job_compat.h"

#include <string>

#include "google/protobuf/util/message_differencer.h"
#include "proto/config.pb.h"

namespace cairn::launch {
namespace {

// What decides the meaning of a checkpoint.
proto::JobConfig Identity(const proto::JobConfig& job) {
  proto::JobConfig identity = job;
  identity.clear_name();
  identity.clear_train();
  identity.clear_checkpoint();
  proto::DataConfig& data = *identity.mutable_data();
  data.clear_train();
  data.clear_valid();
  data.clear_test();
  data.clear_bad_row();
  data.clear_max_bad_rows();
  data.clear_bayes_auc();
  for (proto::JoinConfig& join : *data.mutable_join()) join.clear_file();
  return identity;
}

}  // namespace

Status CheckCompatible(const proto::JobConfig& saved, const proto::JobConfig& job) {
  google::protobuf::util::MessageDifferencer differencer;
  // A field that is left out equals one that is set to its default.
  differencer.set_message_field_comparison(google::protobuf::util::MessageDifferencer::EQUIVALENT);
  std::string differences;
  differencer.ReportDifferencesToString(&differences);
  if (differencer.Compare(Identity(saved), Identity(job))) return OkStatus();
  return absl::FailedPreconditionError(
      StrCat("the run directory holds a checkpoint of another job; first difference (checkpoint -> "
             "this job): ",
             differences.substr(0, differences.find('\n'))));
}

}  // namespace cairn::launch
