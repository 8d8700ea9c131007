"""The edge: the only place that knows grpc. It decodes, asks and encodes; it decides nothing."""
