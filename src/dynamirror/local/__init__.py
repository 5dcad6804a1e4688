"""The whole system on one machine: embedded servers, and the real handler fed from the stream."""
