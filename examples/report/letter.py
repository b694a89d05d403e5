"""The e-mail that brings a report."""

from email.message import EmailMessage


def write(report: str, recipient: str, message_id: str, pdf: bytes) -> EmailMessage:
    """Write the message, the same bytes each time."""
    message = EmailMessage()
    message["From"], message["To"] = "reports@example.com", recipient
    message["Subject"] = f"Quarterly report {report}"
    message["Message-ID"] = message_id
    message.set_content(f"The report {report} is attached.\n")
    message.add_attachment(
        pdf, maintype="application", subtype="pdf", filename=f"report-{report}.pdf"
    )
    # Chance would choose it otherwise.
    message.set_boundary(f"=={message_id.partition('@')[0].strip('<')}==")
    return message
