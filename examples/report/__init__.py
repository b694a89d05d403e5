"""Report: three sections by SQL at the same time, a PDF that is proofread, and one e-mail however often it is sent."""
