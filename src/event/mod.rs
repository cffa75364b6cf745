//! Once per event: the pipeline and its stages.
