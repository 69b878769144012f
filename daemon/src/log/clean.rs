//! Cleans what a record says, whoever wrote it: a name, a reason or an error of others may hold what a terminal obeys.

use std::{borrow::Cow, fmt};

use systemd_journal_logger::JournalLog;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Value, Visit, display},
    span,
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

/// Makes text of others safe to show in one line.
pub type Cleaner = fn(&str) -> Cow<'_, str>;

/// A layer in front of `inner`, which sees clean records only.
pub(super) struct Clean<L> {
    pub inner: L,
    pub cleaner: Cleaner,
}

impl<S, L> Layer<S> for Clean<L>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    L: Layer<S>,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let said = self.said(|visitor| attributes.record(visitor));
        said.with(attributes.metadata(), |values| {
            self.inner.on_new_span(&span::Attributes::new(attributes.metadata(), values), id, context);
        });
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let said = self.said(|visitor| event.record(visitor));
        said.with(metadata, |values| match event.parent() {
            Some(parent) => self.inner.on_event(&Event::new_child_of(parent.clone(), metadata, values), context),
            None => self.inner.on_event(&Event::new(metadata, values), context),
        });
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let said = self.said(|visitor| values.record(visitor));
        said.with(span.metadata(), |values| self.inner.on_record(id, &span::Record::new(values), context.clone()));
    }

    fn on_close(&self, id: span::Id, context: Context<'_, S>) {
        self.inner.on_close(id, context);
    }
}

impl<L> Clean<L> {
    fn said(&self, record: impl FnOnce(&mut dyn Visit)) -> Said {
        let mut said = Said { cleaner: self.cleaner, values: Vec::new() };
        record(&mut said);
        said
    }
}

/// The values of a record, clean.
struct Said {
    cleaner: Cleaner,
    values: Vec<(Field, Box<dyn Value>)>,
}

/// `tracing` knows no record with more fields.
const MAX_FIELDS: usize = 32;

impl Said {
    fn with(&self, metadata: &'static Metadata<'static>, use_them: impl FnOnce(&tracing::field::ValueSet<'_>)) {
        let fields = metadata.fields();
        match self.values.first() {
            None => use_them(&fields.value_set(&[] as &[(&Field, Option<&dyn Value>); 0])),
            Some((first, _)) => {
                let mut values: [(&Field, Option<&dyn Value>); MAX_FIELDS] = [(first, None); MAX_FIELDS];
                for (slot, (field, value)) in values.iter_mut().zip(&self.values) {
                    *slot = (field, Some(value.as_ref()));
                }
                use_them(&fields.value_set(&values));
            }
        }
    }
}

impl Visit for Said {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.values.push((field.clone(), Box::new(value)));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.values.push((field.clone(), Box::new(value)));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.values.push((field.clone(), Box::new(value)));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.values.push((field.clone(), Box::new(value)));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.values.push((field.clone(), Box::new((self.cleaner)(value).into_owned())));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = (self.cleaner)(&format!("{value:?}")).into_owned();
        self.values.push((field.clone(), Box::new(display(text))));
    }
}

/// The records of libraries on their way to the journal.
pub(super) struct CleanJournal {
    pub journal: JournalLog,
    pub cleaner: Cleaner,
}

impl log::Log for CleanJournal {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        self.journal.enabled(metadata)
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        let text = (self.cleaner)(&text);
        self.journal.log(&record.to_builder().args(format_args!("{text}")).build());
    }

    fn flush(&self) {
        self.journal.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::{fmt, layer::SubscriberExt as _};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Marks what the real one would escape.
    fn cleaner(text: &str) -> Cow<'_, str> {
        Cow::Owned(text.replace(['\x1b', '\u{202e}', '\n'], "?"))
    }

    #[test]
    fn nothing_that_others_wrote_leaves_as_it_is_whichever_way_it_came_in() {
        let kept = Kept::default();
        let writer = kept.clone();
        let inner = fmt::layer().with_writer(move || writer.clone()).with_ansi(false).without_time();
        let subscriber = tracing_subscriber::registry().with(Clean { inner, cleaner });
        let foreign = "a\x1b[2J\u{202e}\nb";
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("link", peer = foreign, later = tracing::field::Empty);
            span.record("later", foreign);
            let _inside = span.enter();
            tracing::warn!(reason = %foreign, name = foreign, debug = ?foreign, number = 7, "refused: {foreign}");
            tracing::warn!("plain");
        });
        let text = String::from_utf8(kept.0.lock().expect("not poisoned").clone()).expect("UTF-8");
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains(['\x1b', '\u{202e}']), "{text:?}");
        assert!(text.contains("refused: a?[2J??b") && text.contains("reason=a?[2J??b"), "{text}");
        assert!(text.contains("number=7") && text.contains("plain") && text.contains("later="), "{text}");
    }
}
